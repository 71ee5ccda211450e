package stock

import (
	"net"

	"github.com/mholt/caddy-l4/layer4"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// A streamHandler runs one of caddy-l4's handlers around what follows.
type streamHandler struct {
	handler layer4.NextHandler
	logger  *zap.Logger
}

// AroundSession makes a connection of caddy-l4's, unless it is one already, and
// runs the handler.
func (h *streamHandler) AroundSession(_ *plugin.Session, c net.Conn, next func(net.Conn) error) error {
	cx, ok := c.(*layer4.Connection)
	if !ok {
		cx = layer4.WrapConnection(c, nil, h.logger)
	}
	return h.handler.Handle(cx, layer4.HandlerFunc(func(cx *layer4.Connection) error { return next(cx) }))
}

// Interface guard
var _ plugin.SessionMiddleware = (*streamHandler)(nil)
