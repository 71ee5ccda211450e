// Package portcullis plugs every standard part of the gateway into Caddy.
// Importing it for its side effects is all a build needs:
//
//	xcaddy build --with github.com/portcullis-gateway/portcullis
package portcullis
