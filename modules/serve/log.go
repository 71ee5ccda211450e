package serve

import (
	"bytes"
	"io"

	"go.uber.org/zap"
)

// errorLog passes net/http's messages to the logger of the generation that
// serves. A handler's panic is an error; the rest (failed handshakes, broken
// clients) is worth a look only when debugging, as in Caddy's own servers.
type errorLog struct{ server *server }

func (e errorLog) Write(p []byte) (int, error) {
	logger := e.server.logger().With(zap.String("option", e.server.config.Option), zap.Stringer("listener", e.server.config.Bind))
	text := string(bytes.TrimSpace(p))
	if bytes.HasPrefix(p, []byte("http: panic serving ")) || bytes.HasPrefix(p, []byte("http2: panic serving ")) {
		logger.Error("a handler panicked", zap.String("message", text))
	} else {
		logger.Debug("net/http", zap.String("message", text))
	}
	return len(p), nil
}

// Interface guards
var _ io.Writer = errorLog{}
