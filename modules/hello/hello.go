// Package hello reads a TLS ClientHello without consuming it: it tells which
// server a client wants, and gives back every byte that it has read, so that
// the connection can be handed to whoever speaks TLS.
package hello

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Hello is what a client says of itself in its first message.
type Hello struct {
	// ServerName is the name in the server_name extension (RFC 6066, section
	// 3), in lower case and without a dot at its end; empty if there is none.
	ServerName string

	// Protocols are the application protocols that the client offers (ALPN,
	// RFC 7301), the one it prefers first.
	Protocols []string
}

// MaxSize is how many bytes a client may take to say hello. Those of today's
// clients have less than 2 KiB, with the key shares of post-quantum cryptography
// in them; TLS itself would allow 16 MiB.
const MaxSize = 16 << 10

// Errors of Peek besides those of the reader.
var (
	// ErrNotTLS is what begins with something else than a TLS handshake.
	ErrNotTLS = errors.New("the client does not speak TLS")

	// ErrTooLong is a hello of more than MaxSize bytes.
	ErrTooLong = fmt.Errorf("the ClientHello is longer than %d bytes", MaxSize)

	// ErrMalformed is a TLS handshake that does not begin with a hello that
	// makes sense.
	ErrMalformed = errors.New("the ClientHello is malformed")
)

// The layout of TLS records and handshake messages (RFC 8446, sections 4 and
// 5.1).
const (
	recordHeader    = 5
	handshakeRecord = 22
	messageHeader   = 4
	clientHello     = 1
	maxRecord       = 1 << 14

	extServerName = 0
	extALPN       = 16
	hostName      = 0
)

// Peek reads from r until it has a whole ClientHello. It answers all the bytes
// that were read, in buf as long as they fit: the hello and perhaps more, or
// what there was before the error. It gives up as soon as the bytes cannot
// become a hello any more. Whoever calls it sets the deadline.
func Peek(r io.Reader, buf []byte) (h Hello, read []byte, err error) {
	read = buf[:0]
	var message []byte // of the handshake, out of the records
	for at := 0; ; {
		if read, err = fill(r, read, at+recordHeader); err != nil {
			return h, read, err
		}
		length := int(binary.BigEndian.Uint16(read[at+3:]))
		if read[at] != handshakeRecord || read[at+1] != 3 || length == 0 || length > maxRecord {
			return h, read, ErrMalformed
		}
		if read, err = fill(r, read, at+recordHeader+length); err != nil {
			return h, read, err
		}
		payload := read[at+recordHeader : at+recordHeader+length]
		at += recordHeader + length
		if message == nil {
			message = payload
		} else {
			message = append(message[:len(message):len(message)], payload...)
		}
		if len(message) < messageHeader {
			continue
		}
		if message[0] != clientHello {
			return h, read, ErrMalformed
		}
		size := messageHeader + (int(message[1])<<16 | int(binary.BigEndian.Uint16(message[2:])))
		switch {
		case size > MaxSize:
			return h, read, ErrTooLong
		case len(message) >= size:
			h, err = parse(message[messageHeader:size])
			return h, read, err
		}
	}
}

// fill reads until there are n bytes, and stops at the first that TLS would not
// begin with.
func fill(r io.Reader, read []byte, n int) ([]byte, error) {
	if n > MaxSize {
		return read, ErrTooLong
	}
	for len(read) < n {
		if cap(read) == len(read) {
			grown := make([]byte, len(read), min(max(2*cap(read), 2048), MaxSize))
			copy(grown, read)
			read = grown
		}
		k, err := r.Read(read[len(read):cap(read)])
		read = read[:len(read)+k]
		if len(read) > 0 && (read[0] != handshakeRecord || len(read) > 1 && read[1] != 3) {
			return read, ErrNotTLS
		}
		if len(read) < n && err != nil {
			if err == io.EOF && len(read) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return read, err
		}
	}
	return read, nil
}

// parse reads the body of a ClientHello (RFC 8446, section 4.1.2).
func parse(b []byte) (h Hello, err error) {
	s := scanner{b: b}
	s.take(2 + 32) // version, random
	s.vector8()    // session id
	s.vector16()   // cipher suites
	s.vector8()    // compression methods
	if s.bad {
		return h, ErrMalformed
	}
	if len(s.b) == 0 {
		return h, nil // extensions are not compulsory before TLS 1.3
	}
	all := scanner{b: s.vector16()}
	if s.bad || len(s.b) > 0 {
		return h, ErrMalformed
	}
	for len(all.b) > 0 {
		kind, data := all.uint16(), scanner{b: all.vector16()}
		if all.bad {
			return h, ErrMalformed
		}
		ok := true
		switch kind {
		case extServerName:
			h.ServerName, ok = serverName(data)
		case extALPN:
			h.Protocols, ok = protocols(data)
		}
		if !ok {
			return h, ErrMalformed
		}
	}
	return h, nil
}

func serverName(s scanner) (name string, ok bool) {
	list := scanner{b: s.vector16()}
	if s.bad || len(s.b) > 0 || len(list.b) == 0 {
		return "", false
	}
	for len(list.b) > 0 {
		kind, text := list.take(1), list.vector16()
		if list.bad {
			return "", false
		}
		if kind[0] != hostName {
			continue
		}
		if name != "" || len(text) == 0 {
			return "", false
		}
		name = strings.TrimSuffix(strings.ToLower(string(text)), ".")
	}
	return name, true
}

func protocols(s scanner) (names []string, ok bool) {
	list := scanner{b: s.vector16()}
	if s.bad || len(s.b) > 0 || len(list.b) == 0 {
		return nil, false
	}
	for len(list.b) > 0 {
		name := list.vector8()
		if list.bad || len(name) == 0 {
			return nil, false
		}
		names = append(names, string(name))
	}
	return names, true
}

// A scanner cuts pieces off. Once something was missing it is bad, and answers
// nothing more.
type scanner struct {
	b   []byte
	bad bool
}

func (s *scanner) take(n int) []byte {
	if n > len(s.b) {
		s.b, s.bad = nil, true
		return nil
	}
	piece := s.b[:n]
	s.b = s.b[n:]
	return piece
}

func (s *scanner) uint16() int {
	if b := s.take(2); b != nil {
		return int(binary.BigEndian.Uint16(b))
	}
	return 0
}

func (s *scanner) vector8() []byte {
	if n := s.take(1); n != nil {
		return s.take(int(n[0]))
	}
	return nil
}

func (s *scanner) vector16() []byte { return s.take(s.uint16()) }
