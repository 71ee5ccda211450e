// Package proxy answers HTTP requests: it finds the route of each, and passes
// it to the route's service.
//
// It has two doors, the app `gateway_proxy` with listeners of its own and the
// handler `http.handlers.gateway` for any Caddy site, and behind both one
// [Engine]. What clients and upstreams see is Kong's, with these differences:
//
//   - Request bodies. With `request_buffering` (the default) Kong reads the
//     whole body before it connects. Here that is done up to 64 KiB; a larger
//     body is streamed, chunked if its length is unknown, and so the request
//     is not tried again once it was sent. Without `request_buffering`, and for
//     gRPC, every body is streamed. The answer may begin before the body ends.
//   - Response bodies. Bodies of unknown length and server-sent events are
//     passed on piece by piece, also with `response_buffering`. The flag decides
//     for those of known length alone.
//   - Connections to upstreams end after 60 idle seconds; they are not counted
//     (`upstream_keepalive_max_requests`).
//   - Informational responses (103 Early Hints) and trailers, also those of
//     requests, are passed on.
//   - Header names are sent in the canonical form of net/http: `x_a-b` becomes
//     `X_a-B`.
//   - Requests that HTTP itself does not allow are answered by net/http's
//     server, with its own short texts.
package proxy
