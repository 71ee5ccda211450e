// Package stream is the gateway's door for TCP, TLS and UDP: the app
// `gateway_stream` with its listeners, and the handler `layer4.handlers.gateway`
// for the servers of caddy-l4. Both drive one engine.
//
// A connection is a flow: it is matched once, with one snapshot, and joined
// with a connection to its service. From then on nothing that happens to
// routes, services or configurations touches it.
package stream
