package serve

import (
	"errors"
	"fmt"
	"net"

	"github.com/caddyserver/caddy/v2"
)

// tlsWrapper is the module with which Caddy's HTTP servers mark where TLS
// stands among their listener wrappers.
const tlsWrapper = "caddy.listeners.tls"

// LoadWrappers loads the listener wrappers in the field of a module and makes
// one function of them, or nil if there are none. The field is a
// []json.RawMessage with the tag
//
//	caddy:"namespace=caddy.listeners inline_key=wrapper"
//
// The first wrapper stands next to the socket, and TLS behind the last; Caddy's
// own placeholder for TLS may say so.
func LoadWrappers(ctx caddy.Context, module any, field string) (func(net.Listener) net.Listener, error) {
	loaded, err := ctx.LoadModule(module, field)
	if err != nil {
		return nil, fmt.Errorf("listener_wrappers: %w", err)
	}
	var chain []caddy.ListenerWrapper
	list, _ := loaded.([]any)
	for i, guest := range list {
		if guest.(caddy.Module).CaddyModule().ID == tlsWrapper {
			if i < len(list)-1 {
				return nil, errors.New("listener_wrappers: tls has to be the last, since wrappers cannot stand behind TLS here")
			}
			break
		}
		wrapper, ok := guest.(caddy.ListenerWrapper)
		if !ok {
			return nil, fmt.Errorf("listener_wrappers: %T wraps no listener", guest)
		}
		chain = append(chain, wrapper)
	}
	if len(chain) == 0 {
		return nil, nil
	}
	return func(ln net.Listener) net.Listener {
		for _, wrapper := range chain {
			ln = wrapper.WrapListener(ln)
		}
		return ln
	}, nil
}
