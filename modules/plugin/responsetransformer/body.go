package responsetransformer

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// maxBody bounds the bodies that are changed, in bytes. What should have been
// changed must not pass as it is: a larger one is broken off.
const maxBody = 64 << 20

// BodyFilter keeps JSON bodies until they are complete, if anything is to be
// changed in them.
func (p *Plugin) BodyFilter(x *plugin.Exchange, next io.Writer) io.WriteCloser {
	h := x.ResponseHeader()
	if p.body.Empty() || !isJSON(h) || x.Status() == http.StatusSwitchingProtocols {
		return nil
	}
	if coding := h.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return nil // it cannot be read
	}
	delete(h, "Content-Length")
	if x.Method() == http.MethodHead || x.Status() == http.StatusNoContent || x.Status() == http.StatusNotModified {
		return nil
	}
	return &buffered{plugin: p, next: next, log: x.Logger}
}

// A buffered body is changed when it is complete.
type buffered struct {
	plugin *Plugin
	next   io.Writer
	log    *zap.Logger
	buf    bytes.Buffer
}

func (b *buffered) Write(p []byte) (int, error) {
	if b.buf.Len()+len(p) > maxBody {
		return 0, fmt.Errorf("response-transformer: a body of more than %d bytes cannot be changed", maxBody)
	}
	return b.buf.Write(p)
}

// Close passes the body on: as it is if it cannot be changed.
func (b *buffered) Close() error {
	body, err := b.plugin.transformed(b.buf.Bytes())
	if err != nil {
		b.log.Warn("body transform failed", zap.String("plugin", "response-transformer"), zap.Error(err))
		body = b.buf.Bytes()
	}
	if len(body) == 0 {
		return nil
	}
	_, err = b.next.Write(body)
	return err
}
