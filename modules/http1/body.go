package http1

import (
	"io"
	"net/http"
)

// A source is the reading side of a connection: what has been read ahead, and
// the connection itself.
type source interface {
	// buffered is what has been read and not been taken yet.
	buffered() []byte
	// take removes the first n bytes of it.
	take(n int)
	// fill reads more behind it. It fails when the buffer is full.
	fill() error
	// Read takes what is buffered or, if that is nothing, reads from the
	// connection straight into p.
	io.Reader
}

// A bodyReader reads the body of one message, and not a byte more.
type bodyReader struct {
	src  source
	left int64 // of the body, or of the chunk; -1: until the connection ends

	chunked  bool
	started  bool // a chunk has been read, whose CRLF is still to come
	trailer  func(http.Header) error
	overhead int // bytes of chunk heads and extensions since the last data

	err error // io.EOF at the end
}

// maxOverhead is how many bytes of chunk heads may stand between two pieces of
// data, and how long a trailer section may be.
const maxOverhead = 8 << 10

// newBody reads the body that a message's framing announces.
func newBody(src source, length int64, trailer func(http.Header) error) bodyReader {
	b := bodyReader{src: src, left: length, trailer: trailer}
	switch length {
	case 0:
		b.err = io.EOF
	case lengthChunked:
		b.left, b.chunked = 0, true
	}
	return b
}

// Read implements io.Reader. The end of the body is io.EOF; a connection that
// ends before that is io.ErrUnexpectedEOF.
func (b *bodyReader) Read(p []byte) (n int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if b.chunked && b.left == 0 {
		if b.err = b.nextChunk(); b.err != nil {
			return 0, b.err
		}
	}
	if b.left >= 0 && int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err = b.src.Read(p)
	if b.left < 0 {
		b.err = err
		return n, err
	}
	b.left -= int64(n)
	switch {
	case b.left == 0 && !b.chunked:
		b.err = io.EOF
		return n, io.EOF
	case err == io.EOF:
		b.err = io.ErrUnexpectedEOF
		return n, b.err
	case err != nil && !isTimeout(err):
		b.err = err
	}
	return n, err
}

// nextChunk reads up to the data of the next chunk or, behind the last one, the
// trailer section; then it answers io.EOF.
func (b *bodyReader) nextChunk() error {
	if b.started {
		line, err := b.line()
		if err != nil {
			return err
		}
		if line != "" {
			return bad("a chunk is longer than it said")
		}
		b.started = false
	}
	line, err := b.line()
	if err != nil {
		return err
	}
	size, ok := chunkSize(line)
	if !ok {
		return bad("the size of a chunk is not a number")
	}
	if size > 0 {
		// Chunks of one byte with long extensions are an attack, not a body.
		b.overhead += len(line) + 4
		b.overhead = max(0, b.overhead-int(min(size, maxOverhead)))
		if b.overhead > maxOverhead {
			return bad("chunks with more head than data")
		}
		b.left, b.started = size, true
		return nil
	}
	return b.end()
}

// end reads the trailer section.
func (b *bodyReader) end() error {
	for {
		data := b.src.buffered()
		if len(data) >= 2 && data[0] == '\r' && data[1] == '\n' {
			b.src.take(2)
			return io.EOF
		}
		if end := headEnd(data, 0); end >= 0 {
			fields, err := Fields(nil).parse(string(data[:end]))
			if err != nil {
				return err
			}
			b.src.take(end)
			if b.trailer != nil {
				if err := b.trailer(fields.Header()); err != nil {
					return err
				}
			}
			return io.EOF
		}
		if len(data) > maxOverhead {
			return errHeadTooLarge
		}
		if err := b.more(); err != nil {
			return err
		}
	}
}

// line takes a line that ends in CRLF.
func (b *bodyReader) line() (string, error) {
	for from := 0; ; {
		data := b.src.buffered()
		for i := from; i < len(data); i++ {
			switch data[i] {
			case '\n':
				return "", bad("a line of a chunked body ends in a bare LF")
			case '\r':
				if i+1 == len(data) {
					break // its LF may come
				}
				if data[i+1] != '\n' {
					return "", bad("a line of a chunked body has a bare CR")
				}
				line := string(data[:i])
				b.src.take(i + 2)
				return line, nil
			}
		}
		if len(data) > maxOverhead {
			return "", bad("a line of a chunked body is too long")
		}
		from = max(0, len(data)-1)
		if err := b.more(); err != nil {
			return "", err
		}
	}
}

// more reads on within a body.
func (b *bodyReader) more() error {
	err := b.src.fill()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// chunkSize reads the line before a chunk (RFC 9112, section 7.1). Extensions
// are checked for control characters, and ignored.
func chunkSize(line string) (size int64, ok bool) {
	i := 0
	for ; i < len(line); i++ {
		c := line[i]
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			rest := trim(line[i:])
			return size, i > 0 && (rest == "" || rest[0] == ';') && fieldValue(rest)
		}
		if i == 15 {
			return 0, false
		}
		size = size<<4 | int64(c)
	}
	return size, i > 0
}
