package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/hello"
)

// What a client of PostgreSQL may begin with, before its ClientHello
// (https://www.postgresql.org/docs/current/protocol-message-formats.html).
var (
	sslRequest = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}
	gssRequest = []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30}
)

// Answers to these.
const (
	willing   = 'S'
	unwilling = 'N'
)

// greet reads the ClientHello, in buf as long as it fits. A client of PostgreSQL
// that asks whether it may speak TLS is told so before; asked reports that.
func greet(c io.ReadWriter, buf []byte) (h hello.Hello, read []byte, asked bool, err error) {
	h, read, err = hello.Peek(c, buf)
	if !errors.Is(err, hello.ErrNotTLS) || read[0] != sslRequest[0] {
		return h, read, false, err
	}
	read = slices.Clone(read)
	for range 2 { // it may ask for GSSAPI first
		if read, err = atLeast(c, read, len(sslRequest)); err != nil {
			return h, read, false, err
		}
		answer := byte(unwilling)
		switch {
		case bytes.HasPrefix(read, sslRequest):
			answer = willing
		case !bytes.HasPrefix(read, gssRequest):
			return h, read, false, hello.ErrNotTLS
		}
		if _, err := c.Write([]byte{answer}); err != nil {
			return h, read, false, err
		}
		read = read[len(sslRequest):]
		if answer == willing {
			h, read, err = hello.Peek(io.MultiReader(bytes.NewReader(read), c), buf)
			return h, read, true, err
		}
	}
	return h, read, false, hello.ErrNotTLS
}

// atLeast reads until there are n bytes.
func atLeast(r io.Reader, read []byte, n int) ([]byte, error) {
	if len(read) >= n {
		return read, nil
	}
	rest := make([]byte, n-len(read))
	k, err := io.ReadFull(r, rest)
	return append(read, rest[:k]...), err
}

// requestTLS asks a PostgreSQL server whether it speaks TLS, as its client has
// asked the gateway.
func requestTLS(ctx context.Context, c net.Conn) error {
	if at, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(at)
		defer c.SetDeadline(time.Time{})
	}
	if _, err := c.Write(sslRequest); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil {
		return fmt.Errorf("answer to the SSLRequest: %w", err)
	}
	if answer[0] != willing {
		return fmt.Errorf("the service does not speak TLS: it answered the SSLRequest with %q", answer[0])
	}
	return nil
}
