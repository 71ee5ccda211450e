package jwt_test

import (
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
)

func init() { caddy.RegisterModule(new(reader)) }

// A reader tells the service what plugins before it share.
type reader struct{}

func (*reader) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.reader", New: func() caddy.Module { return new(reader) }}
}

func (*reader) Describe() entity.PluginKind { return entity.PluginKind{Priority: 10} }

func (*reader) Access(x *plugin.Exchange) error {
	token, _ := x.Shared["authenticated_jwt_token"].(string)
	x.SetUpstreamHeader("X-Token", token)
	return nil
}

// TestJWT_sharesTheToken with the plugins behind it.
func TestJWT_sharesTheToken(t *testing.T) {
	g := world(t, "")
	g.Add("reader", "")
	good := token(`{"iss":"k"}`)
	g.Do("GET", "/", "", plugintest.Header("Authorization", "Bearer "+good))
	if g.Last == nil || g.Last.Header.Get("X-Token") != good {
		t.Errorf("the service got %v, want the token", g.Last)
	}
}
