// Package sites gives the sites of Caddy's HTTP servers HTTP/3 on the network
// types of package transparent.
package sites

import (
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/portcullis-gateway/portcullis/transparent"
)

func init() {
	for _, required := range []string{"", transparent.Intercepted} {
		for _, modes := range []string{"", "+tproxy"} {
			caddyhttp.RegisterNetworkHTTP3(transparent.Network+modes+required, transparent.QUICNetwork+required)
		}
	}
	// Datagrams that were redirected can be answered, but not told from direct
	// ones: with `+intercepted`, there is no HTTP/3.
	caddyhttp.RegisterNetworkHTTP3(transparent.Network+"+redirect", "udp")
}
