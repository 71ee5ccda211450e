package caddyfile

import (
	"maps"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/portcullis-gateway/portcullis/admin"
	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/proxy"
	"github.com/portcullis-gateway/portcullis/modules/serve"
	"github.com/portcullis-gateway/portcullis/modules/stream"
)

// A door is what the listen options fill, whichever app it belongs to.
type door struct {
	option string
	flags  listen.FlagSet
	listen *[]listen.Bind

	gracePeriod *caddy.Duration
	http        *serve.Listeners // nil for streams
	stream      *stream.App      // nil for the others
	access      *admin.Access    // nil for the proxy and streams

	accessLog, logCredentials *bool // nil for the Admin and the Status API
	autoHTTPS                 *bool // nil for all but the proxy
}

// readProxyListen reads the global option `proxy_listen`; see read.
func readProxyListen(d *caddyfile.Dispenser, app *proxy.App) error {
	door := httpDoor("proxy_listen", &app.Listeners)
	door.flags = listen.Proxy
	door.accessLog, door.logCredentials = &app.AccessLog, &app.LogCredentials
	door.autoHTTPS = &app.AutoHTTPS
	return door.read(d, proxyWords)
}

// readStreamListen reads the global option `stream_listen`; see read.
func readStreamListen(d *caddyfile.Dispenser, app *stream.App) error {
	door := &door{
		option: "stream_listen", flags: listen.Stream, listen: &app.Listen,
		gracePeriod: &app.GracePeriod, stream: app, accessLog: &app.AccessLog,
	}
	return door.read(d, streamWords)
}

// readAdminListen reads the global option `admin_listen`; see read.
func readAdminListen(d *caddyfile.Dispenser, app *admin.App) error {
	return guardedDoor("admin_listen", &app.Listeners).read(d, guardedDoorWords)
}

// readStatusListen reads the global option `status_listen`; see read.
func readStatusListen(d *caddyfile.Dispenser, app *admin.StatusApp) error {
	return guardedDoor("status_listen", &app.Listeners).read(d, guardedDoorWords)
}

func httpDoor(option string, l *serve.Listeners) *door {
	return &door{option: option, flags: listen.HTTP, listen: &l.Listen, gracePeriod: &l.GracePeriod, http: l}
}

func guardedDoor(option string, l *admin.Listeners) *door {
	door := httpDoor(option, &l.Listeners)
	door.access = &l.Access
	return door
}

// read reads a listen option. Syntax:
//
//	<option> off
//	<option> <address> [<flags...>], <address> [<flags...>] ...
//	<option> [<line as above>] {
//		bind <address> [<flags...>]
//		timeouts {
//			read_header <duration>
//			read_body   <duration>
//			write       <duration>
//			idle        <duration>
//		}
//		max_header_size <size>
//		grace_period    <duration>
//		listener_wrappers {
//			<wrapper> ...
//		}
//	}
//
// The proxy also has in its block:
//
//	log
//	log_credentials
//	auto_https
//
// Streams have in theirs, beside bind and grace_period:
//
//	hello_timeout    <duration>
//	max_udp_sessions <number>
//	log
//
// The Admin and the Status API have in theirs:
//
//	token       sha256:<sum>|file:<path>|{<placeholder>}
//	client_auth <PEM files...>
//	insecure
//	allow       <addresses or ranges...>
//	hosts       <names...>
//	origins     <origins...>
//
// The binds of the line and of the block add up. Without any, the addresses
// are Kong's.
func (o *door) read(d *caddyfile.Dispenser, words words[door]) error {
	if line := d.RemainingArgs(); len(line) > 0 {
		binds, err := listen.Parse(o.option, strings.Join(line, " "), o.flags)
		if err != nil {
			return d.WrapErr(err)
		}
		if err := o.add(d, binds...); err != nil {
			return err
		}
	}
	if err := words.block(d, o); err != nil {
		return err
	}
	if d.Val() == o.option { // nothing was read
		return d.Errf("%s: expected addresses, off, or a block", o.option)
	}
	return nil
}

// add appends binds to those that are there. No binds are `off`.
func (o *door) add(d *caddyfile.Dispenser, binds ...listen.Bind) error {
	before := *o.listen
	if before != nil && (len(before) == 0) != (len(binds) == 0) {
		return d.Errf("%s: off and addresses exclude each other", o.option)
	}
	all := append(before, binds...)
	if err := listen.Conflicts(all...); err != nil {
		return d.Errf("%s: %w", o.option, err)
	}
	if all == nil {
		all = []listen.Bind{} // off
	}
	*o.listen = all
	return nil
}

// doorWords are those of all doors.
var doorWords = words[door]{
	"bind": func(d *caddyfile.Dispenser, o *door) error {
		b, err := listen.ParseBind(o.option, d.RemainingArgs(), o.flags)
		if err != nil {
			return d.WrapErr(err)
		}
		return o.add(d, b)
	},
	"grace_period": func(d *caddyfile.Dispenser, o *door) (err error) {
		*o.gracePeriod, err = duration(d)
		return err
	},
}

// httpWords are those of the doors that speak HTTP.
var httpWords = with(doorWords, words[door]{
	"timeouts": func(d *caddyfile.Dispenser, o *door) error {
		if err := none(d); err != nil {
			return err
		}
		return timeoutWords.block(d, o)
	},
	"max_header_size": func(d *caddyfile.Dispenser, o *door) (err error) {
		o.http.MaxHeaderSize, err = size(d)
		return err
	},
	"listener_wrappers": func(d *caddyfile.Dispenser, o *door) error {
		if err := none(d); err != nil {
			return err
		}
		for nesting := d.Nesting(); d.NextBlock(nesting); {
			wrapper, err := guest[caddy.ListenerWrapper](d, "listener_wrappers", "caddy.listeners", "wrapper")
			if err != nil {
				return err
			}
			o.http.ListenerWrappersRaw = append(o.http.ListenerWrappersRaw, wrapper)
		}
		return nil
	},
})

var timeoutWords = words[door]{
	"read_header": func(d *caddyfile.Dispenser, o *door) (err error) {
		o.http.Timeouts.Header, err = duration(d)
		return err
	},
	"read_body": func(d *caddyfile.Dispenser, o *door) (err error) {
		o.http.Timeouts.Body, err = duration(d)
		return err
	},
	"write": func(d *caddyfile.Dispenser, o *door) (err error) {
		o.http.Timeouts.Send, err = duration(d)
		return err
	},
	"idle": func(d *caddyfile.Dispenser, o *door) (err error) {
		o.http.Timeouts.Idle, err = duration(d)
		return err
	},
}

// with answers words and more.
func with(all, more words[door]) words[door] {
	all = maps.Clone(all)
	maps.Copy(all, more)
	return all
}

var logWords = words[door]{
	"log": func(d *caddyfile.Dispenser, o *door) error {
		*o.accessLog = true
		return none(d)
	},
}

// proxyWords are those of HTTP and those about its log.
var proxyWords = with(with(httpWords, logWords), words[door]{
	"log_credentials": func(d *caddyfile.Dispenser, o *door) error {
		*o.logCredentials = true
		return none(d)
	},
	"auto_https": func(d *caddyfile.Dispenser, o *door) error {
		*o.autoHTTPS = true
		return none(d)
	},
})

var streamWords = with(with(doorWords, logWords), words[door]{
	"hello_timeout": func(d *caddyfile.Dispenser, o *door) (err error) {
		o.stream.HelloTimeout, err = duration(d)
		return err
	},
	"max_udp_sessions": func(d *caddyfile.Dispenser, o *door) error {
		text, err := one(d, "a number")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return d.Errf("max_udp_sessions: expected a number from 1 on, got %q", text)
		}
		o.stream.MaxUDPSessions = n
		return nil
	},
})

// guardedDoorWords are those of HTTP and those that say who may come in.
var guardedDoorWords = with(httpWords, accessWords)

var accessWords = words[door]{
	"token": func(d *caddyfile.Dispenser, o *door) error {
		token, err := one(d, "sha256:<hexadecimal sum>, file:<path> or a placeholder such as {env.ADMIN_TOKEN}")
		if err != nil {
			return err
		}
		if !strings.HasPrefix(token, "file:") && !strings.HasPrefix(token, "{") {
			if err := (&admin.Access{Token: token}).Check(); err != nil {
				return d.WrapErr(err)
			}
		}
		if o.access.Token == "" {
			o.access.Token = token
		} else {
			o.access.Tokens = append(o.access.Tokens, token)
		}
		return nil
	},
	"client_auth": func(d *caddyfile.Dispenser, o *door) error {
		files := d.RemainingArgs()
		if len(files) == 0 {
			return d.Err("client_auth: expected PEM files with the certificates of authorities")
		}
		if o.access.ClientAuth == nil {
			o.access.ClientAuth = new(admin.ClientAuth)
		}
		o.access.ClientAuth.TrustedCACerts = append(o.access.ClientAuth.TrustedCACerts, files...)
		return nil
	},
	"insecure": func(d *caddyfile.Dispenser, o *door) error {
		o.access.Insecure = true
		return none(d)
	},
	"allow": func(d *caddyfile.Dispenser, o *door) error {
		return o.judged(d, extend(&o.access.Allow, d, "addresses or CIDR ranges"))
	},
	"hosts": func(d *caddyfile.Dispenser, o *door) error {
		return o.judged(d, extend(&o.access.Hosts, d, "hostnames, or *"))
	},
	"origins": func(d *caddyfile.Dispenser, o *door) error {
		return o.judged(d, extend(&o.access.Origins, d, "web origins such as https://console.example.com"))
	},
}

// judged asks the Admin API whether it understands what has been said about
// addresses and names, unless there is an error already.
func (o *door) judged(d *caddyfile.Dispenser, err error) error {
	if err != nil {
		return err
	}
	names := admin.Access{Allow: o.access.Allow, Hosts: o.access.Hosts, Origins: o.access.Origins}
	if err := names.Check(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}
