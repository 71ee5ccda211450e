package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/modules/arrival"
	"github.com/portcullis-gateway/portcullis/modules/proxy"
	"github.com/portcullis-gateway/portcullis/modules/site"
)

// readSite reads the site directive `gateway`; see proxy.Handler.
func readSite(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(proxy.Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// readPlugin reads the site directive `gateway_plugin`; see site.Handler.
func readPlugin(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(site.Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// readArrival reads the site directive `arrival`; see arrival.Handler.
func readArrival(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(arrival.Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}
