package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/modules/proxy"
)

// readSite reads the site directive `gateway`; see proxy.Handler.
func readSite(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(proxy.Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}
