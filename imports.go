// Package portcullis plugs every standard part of the gateway into Caddy.
// Importing it for its side effects is all a build needs:
//
//	xcaddy build --with github.com/portcullis-gateway/portcullis
package portcullis

import (
	_ "github.com/portcullis-gateway/portcullis/admin"
	_ "github.com/portcullis-gateway/portcullis/caddyfile"
	_ "github.com/portcullis-gateway/portcullis/modules/arrival"
	_ "github.com/portcullis-gateway/portcullis/modules/command"
	_ "github.com/portcullis-gateway/portcullis/modules/gateway"
	_ "github.com/portcullis-gateway/portcullis/modules/outlet"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/acl"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/basicauth"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/correlationid"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/cors"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/filelog"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/hmacauth"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/httplog"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/iprestriction"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/jwt"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/keyauth"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/prometheus"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/ratelimiting"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requestsizelimiting"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requesttermination"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requesttransformer"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/responsetransformer"
	_ "github.com/portcullis-gateway/portcullis/modules/proxy"
	_ "github.com/portcullis-gateway/portcullis/modules/site"
	_ "github.com/portcullis-gateway/portcullis/modules/store/bolt"
	_ "github.com/portcullis-gateway/portcullis/modules/store/memory"
	_ "github.com/portcullis-gateway/portcullis/modules/stream"
	_ "github.com/portcullis-gateway/portcullis/transparent"
	_ "github.com/portcullis-gateway/portcullis/transparent/sites"
)
