//go:build unix

package http1

import (
	"errors"
	"io"
	"net/http"

	"github.com/portcullis-gateway/portcullis/modules/relay"
)

// minSplice is how many bytes of a body must be left for it to be worth a pipe.
const minSplice = 64 << 10

// Splice passes the next bytes of a response's body on to a client, through a pipe,
// if both connections are plain TCP and enough of a body of known length is left.
// Else it answers 0 and no error. It calls received when bytes have come, before it
// sends them, and sent with how many the client's connection has taken, as often as
// it takes some.
//
// An error is a *relay.SideError. Neither body nor w can be used after it.
func Splice(w http.ResponseWriter, body io.Reader, pipe *relay.Pipe, received func(), sent func(n int)) (int, error) {
	to, ok := w.(*response)
	from, ok2 := body.(*responseBody)
	if !ok || !ok2 || !to.spliceable() || !from.spliceable() || from.reader.left != to.length-to.written {
		return 0, nil
	}
	if !to.sent || to.held > 0 {
		to.send(nil, false)
		if to.err != nil {
			return 0, &relay.SideError{Err: to.err}
		}
	}
	n, err := pipe.Fill(from.conn.sock.raw, int(min(from.reader.left, 1<<30)))
	if errors.Is(err, relay.ErrNoPipe) {
		return 0, nil
	}
	if err == nil && n == 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		from.reader.err = err
		from.drop()
		return 0, &relay.SideError{Upstream: true, Err: err}
	}
	received()
	from.reader.left -= int64(n)
	to.written += int64(n)
	if to.err = pipe.Empty(to.conn.sock.raw, sent, func() {}); to.err != nil {
		to.broke()
		from.drop()
		return 0, &relay.SideError{Err: to.err}
	}
	if from.reader.left == 0 {
		from.reader.err = io.EOF
		from.finish()
	}
	return n, nil
}

// spliceable reports whether the rest of the body comes as it is from a socket.
func (b *responseBody) spliceable() bool {
	return b.conn != nil && b.conn.sock != nil && !b.reader.chunked && b.reader.err == nil &&
		b.reader.left >= minSplice && len(b.conn.buffered()) == 0
}

// spliceable reports whether the rest of the answer goes as it is to a socket.
func (w *response) spliceable() bool {
	return w.conn.sock != nil && w.status != 0 && w.length >= 0 && !w.bare && !w.over && w.err == nil
}
