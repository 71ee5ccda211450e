package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// upgrade joins the connections of client and upstream after the latter
// agreed to change to the WebSocket protocol. When the process or the listener
// ends, the server cuts such connections.
func (x *exchange) upgrade(t *try, resp *http.Response) {
	head := x.clientHead(t, resp)
	upstream, ok := resp.Body.(io.ReadWriteCloser)
	if !ok || !x.wantsWebSocket() || !strings.EqualFold(head.Get("Upgrade"), "websocket") {
		resp.Body.Close()
		x.logger.Error("upstream changed to a protocol that was not asked for", x.fields(zap.String("target", t.target))...)
		x.fail(http.StatusBadGateway)
		return
	}
	defer upstream.Close()
	h := x.w.Header()
	head.CopyTo(h)
	h["Connection"] = []string{"upgrade"}
	if x.plugins != nil {
		x.plugins.SwitchProtocols(http.StatusSwitchingProtocols)
	}
	conn, rw, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.logger.Error("connection of the client cannot be taken over", x.fields(zap.Error(err))...)
		x.fail(http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	x.started, x.status = true, http.StatusSwitchingProtocols
	// Deadlines of the server no longer apply.
	_ = conn.SetDeadline(time.Time{})
	if err := writeHead(rw.Writer, h); err != nil {
		return
	}
	x.tunnel(t, conn, rw.Reader, upstream)
}

// writeHead writes the head of a 101 response.
func writeHead(w *bufio.Writer, h http.Header) error {
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\n") // a bufio.Writer keeps its first error
	_ = h.Write(w)
	_, _ = w.WriteString("\r\n")
	return w.Flush()
}

// tunnel copies both ways until both sides have said all, or neither says
// anything for the service's read timeout. When one side ends its half of the
// connection the other is told so, and may go on.
func (x *exchange) tunnel(t *try, client net.Conn, early *bufio.Reader, upstream io.ReadWriteCloser) {
	t.watch.begin(reading)
	go func() {
		<-t.Done() // timeout, or the end of this function
		client.Close()
		upstream.Close()
	}()
	var wg sync.WaitGroup
	wg.Go(func() { t.pour(upstream, io.MultiReader(buffered(early), client)) })
	t.pour(client, upstream)
	wg.Wait()
}

// pour copies one way, then ends that half.
func (t *try) pour(to io.Writer, from io.Reader) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		n, err := from.Read(*buf)
		t.watch.begin(reading) // any sign of life will do, as with nginx
		if n > 0 {
			if _, err := to.Write((*buf)[:n]); err != nil {
				t.end() // nobody is there to listen
				return
			}
		}
		if err == io.EOF && closeWrite(to) == nil {
			return
		}
		if err != nil {
			t.end()
			return
		}
	}
}

// closeWrite ends one half of a connection.
func closeWrite(w io.Writer) error {
	switch c := w.(type) {
	case interface{ CloseWrite() error }:
		return c.CloseWrite()
	case interface{ NetConn() net.Conn }:
		return closeWrite(c.NetConn())
	}
	return errors.ErrUnsupported
}

// buffered is what the server had read beyond the request's head.
func buffered(r *bufio.Reader) io.Reader { return io.LimitReader(r, int64(r.Buffered())) }
