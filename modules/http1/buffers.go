package http1

import (
	"io"
	"net"
	"sync"
	"unsafe"
)

// bufferSize fits nearly all heads, and small answers with theirs.
const bufferSize = 4 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }}

func newBuffer() *[]byte { return buffers.Get().(*[]byte) }

// freeBuffer gives a buffer back; one that has grown is let go.
func freeBuffer(b *[]byte) {
	if len(*b) == bufferSize {
		buffers.Put(b)
	}
}

// A text is the memory of a head. What is made of it are parts of its String, which
// are good until it is set again.
type text []byte

func (t *text) set(b []byte) { *t = append((*t)[:0], b...) }

func (t text) String() string { return unsafe.String(unsafe.SliceData(t), len(t)) }

// An inbox is what a connection has besides the net.Conn: what was read of it too
// early, and the way to its socket. While it holds nothing it has no buffer.
type inbox struct {
	conn net.Conn
	sock *socket // nil: it must be read through conn
	buf  *[]byte // nil: nothing is held
	r, w int     // what is held: buf[r:w]
	max  int     // how far the buffer may grow
}

// buffered implements source.
func (in *inbox) buffered() []byte {
	if in.buf == nil {
		return nil
	}
	return (*in.buf)[in.r:in.w]
}

// take implements source.
func (in *inbox) take(n int) {
	if in.r += n; in.r == in.w {
		in.r, in.w = 0, 0
	}
}

// release gives the buffer back if it holds nothing.
func (in *inbox) release() {
	if in.buf != nil && in.r == in.w {
		freeBuffer(in.buf)
		in.buf, in.r, in.w = nil, 0, 0
	}
}

// fill implements source.
func (in *inbox) fill() error {
	if in.buf == nil {
		if in.sock != nil {
			buf, n, err := in.sock.await()
			if err != nil {
				return err
			}
			in.buf, in.r, in.w = buf, 0, n
			return nil
		}
		in.buf = newBuffer()
	}
	b := *in.buf
	if in.w == len(b) {
		if in.r > 0 {
			in.w = copy(b, b[in.r:in.w])
			in.r = 0
		} else if len(b) >= in.max {
			return errHeadTooLarge
		} else {
			grown := make([]byte, min(2*len(b), in.max))
			copy(grown, b)
			freeBuffer(in.buf)
			in.buf, b = &grown, grown
		}
	}
	n, err := in.conn.Read(b[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// write writes to the connection.
func (in *inbox) write(p []byte) (int, error) {
	if in.sock != nil {
		return in.sock.send(p)
	}
	return in.conn.Write(p)
}

// Read implements source.
func (in *inbox) Read(p []byte) (int, error) {
	if in.r < in.w {
		n := copy(p, (*in.buf)[in.r:in.w])
		in.take(n)
		return n, nil
	}
	return in.conn.Read(p)
}
