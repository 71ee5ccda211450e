// Package plugin runs plugins on requests and streams: what a plugin may do in
// which phase, which configuration of it applies, and in what order they come.
//
// A plugin is a Caddy module in the namespace `gateway.plugins`. Its name in
// Kong's world is that of the module with dashes: `gateway.plugins.key_auth` is
// the plugin key-auth. It implements [Described] and those phases that it takes
// part in. For each row of the table plugins a module is made, loaded with the
// row's config and provisioned; it lives until the row changes, and until the
// last request that it takes part in is over.
//
// At most one configuration of a plugin acts on a request: the most specific
// one. Configurations are not merged.
package plugin

import (
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// Namespace is where plugins are registered.
const Namespace = "gateway.plugins"

// Handlers is the namespace of Caddy's HTTP handlers, which are plugins, too:
// under their full names.
const Handlers = "http.handlers"

// StreamHandlers is the namespace of caddy-l4's handlers, which are plugins of
// streams in the same way.
const StreamHandlers = "layer4.handlers"

// Adapted reports whether the name is that of a handler which is a plugin under
// the full name of its module.
func Adapted(name string) bool {
	return strings.HasPrefix(name, Handlers+".") || strings.HasPrefix(name, StreamHandlers+".")
}

// ModuleID is the Caddy module of the plugin with the name.
func ModuleID(name string) string {
	if Adapted(name) {
		return name
	}
	return Namespace + "." + strings.ReplaceAll(name, "-", "_")
}

// Described is what every plugin implements. It is asked on a new module that
// has no configuration.
type Described interface {
	// Describe answers what is known of the plugin without an instance: its
	// priority, the table of its config, where it may stand, and the entities
	// that it brings. Each call makes new tables.
	Describe() entity.PluginKind
}

// The phases of a request, in their order. Within each, plugins with a higher
// priority come first; of equal ones those whose name is greater. A plugin may be
// called for many requests at a time.
type (
	// A Rewriter acts on each request before it is routed. Only global
	// plugins do; there is no route, service or consumer yet.
	Rewriter interface {
		Rewrite(*Exchange) error
	}

	// An Accessor acts before the request is passed to the service. An error
	// that was made with [Refuse], [Exit] or is an [*Answer] ends the request
	// with that answer: later plugins do not act in this phase, but in those
	// that follow. Any other error is logged and answered with a 500.
	Accessor interface {
		Access(*Exchange) error
	}

	// A Middleware is an Accessor around all that follows: next runs the rest
	// of the phase and the service, and writes the response. A Middleware that
	// does not call it must have written a response itself, or return an error
	// as an Accessor does.
	Middleware interface {
		Around(x *Exchange, w http.ResponseWriter, r *http.Request, next func(http.ResponseWriter, *http.Request) error) error
	}

	// A HeaderFilter acts when the head of the response is known and has not
	// been sent: see Exchange.ResponseHeader and Exchange.Status. It acts on
	// all responses, also on those that plugins or the gateway itself make. An
	// error is logged.
	HeaderFilter interface {
		HeaderFilter(*Exchange) error
	}

	// A BodyFilter sees the response's body as it passes. It is asked once
	// after the header filters, before the head is sent, and answers a writer
	// that writes to next, or nil if it takes no interest. Close comes when
	// the body is complete; it must not close next. Who changes the length
	// deletes the header Content-Length.
	BodyFilter interface {
		BodyFilter(x *Exchange, next io.Writer) io.WriteCloser
	}

	// A Logger acts when the response is over; see Exchange.Outcome. It must
	// not block: what takes time belongs into a queue, as a copy, since the
	// memory of the request serves the next as soon as all loggers are done.
	Logger interface {
		Log(*Exchange)
	}
)

// The phases of a TCP connection or UDP session.
type (
	// A Prereader acts before the service is connected, and before TLS is ended.
	// An error that was made with [Refuse] ends the connection: that status is
	// logged, and TLS clients get the alert access_denied. With [Exit] and a
	// status below 400 the body is sent before the end, in the clear. Any
	// other error is logged and ends the connection with the status 500.
	Prereader interface {
		Preread(*Session) error
	}

	// A SessionMiddleware is around the connection of a client, not of UDP
	// sessions: next connects the service and passes on what is read from the
	// connection that it gets and written to it, until both sides have ended.
	// If TLS is ended by the gateway, it stands inside of that. A
	// SessionMiddleware that does not call next has served the client itself,
	// or returns an error, which ends the connection.
	SessionMiddleware interface {
		AroundSession(s *Session, c net.Conn, next func(net.Conn) error) error
	}

	// A SessionLogger acts when the connection is over; see Session.Outcome. It
	// must not block.
	SessionLogger interface {
		LogSession(*Session)
	}
)

// phases are those that a module takes part in.
type phases struct {
	rewrite    Rewriter
	access     Accessor
	middleware Middleware
	header     HeaderFilter
	body       BodyFilter
	log        Logger
	preread    Prereader
	around     SessionMiddleware
	logSession SessionLogger
}

func phasesOf(module any) (p phases) {
	p.rewrite, _ = module.(Rewriter)
	p.access, _ = module.(Accessor)
	p.middleware, _ = module.(Middleware)
	p.header, _ = module.(HeaderFilter)
	p.body, _ = module.(BodyFilter)
	p.log, _ = module.(Logger)
	p.preread, _ = module.(Prereader)
	p.around, _ = module.(SessionMiddleware)
	p.logSession, _ = module.(SessionLogger)
	return p
}
