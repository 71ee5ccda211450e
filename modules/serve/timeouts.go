package serve

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Timeouts limit the single steps of serving a client. On the proxy there is no
// limit for a whole request or response; what upstreams may take, services
// say.
type Timeouts struct {
	// For sending the head of a request. Default: 60s.
	Header caddy.Duration `json:"header,omitempty"`

	// On the proxy between two reads of a request's body. On the Admin and
	// Status API for sending a request; if it is a whole configuration, for
	// sending any further mebibyte of it. Default: 60s.
	Body caddy.Duration `json:"body,omitempty"`

	// Between two writes of a response, when the client is slow to receive it.
	// Default: 60s.
	Send caddy.Duration `json:"send,omitempty"`

	// For the next request on a connection. Default: 75s.
	Idle caddy.Duration `json:"idle,omitempty"`
}

// WithDefaults fills what is unset, as nginx does.
func (t Timeouts) WithDefaults() Timeouts {
	for _, f := range []struct {
		value    *caddy.Duration
		standard time.Duration
	}{
		{&t.Header, DefaultReadHeaderTimeout},
		{&t.Body, time.Minute},
		{&t.Send, time.Minute},
		{&t.Idle, DefaultIdleTimeout},
	} {
		if *f.value == 0 {
			*f.value = caddy.Duration(f.standard)
		}
	}
	return t
}

// CheckLimits reports the first limit of a door that makes no sense. Option is
// the door's word in the Caddyfile, such as proxy_listen.
func CheckLimits(option string, t Timeouts, gracePeriod caddy.Duration, maxHeaderSize int) error {
	for _, f := range []struct {
		name  string
		value caddy.Duration
	}{
		{"timeouts: header", t.Header},
		{"timeouts: body", t.Body},
		{"timeouts: send", t.Send},
		{"timeouts: idle", t.Idle},
		{"grace_period", gracePeriod},
	} {
		if f.value < 0 {
			return fmt.Errorf("%s: %s: %s: expected a duration that is not negative", option, f.name, time.Duration(f.value))
		}
	}
	if maxHeaderSize < 0 {
		return fmt.Errorf("%s: max_header_size: %d: expected a number of bytes that is not negative", option, maxHeaderSize)
	}
	return nil
}
