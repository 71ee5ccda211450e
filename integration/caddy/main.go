// Command caddy is Caddy with the gateway plugged in, as a build by xcaddy
// makes it. The integration tests run it; a developer may, too:
//
//	go run ./integration/caddy run --config examples/gateway.caddyfile
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/portcullis-gateway/portcullis"
)

func main() { caddycmd.Main() }
