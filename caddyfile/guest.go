package caddyfile

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// guest lets a module of the namespace read its own syntax, the dispenser
// being at its name, and answers its JSON with the name under key. The word is
// what errors begin with. A module that is no T is not accepted.
func guest[T any](d *caddyfile.Dispenser, word, namespace, key string) (json.RawMessage, error) {
	name := d.Val()
	if known := modules(namespace); !slices.Contains(known, name) {
		return nil, d.Errf("%s: unknown %s %q; expected one of: %s", word, key, name, strings.Join(known, ", "))
	}
	module, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	if _, ok := module.(T); !ok {
		return nil, d.Errf("%s: the module %s.%s cannot be used here", word, namespace, name)
	}
	return caddyconfig.JSONModuleObject(module, key, name, nil), nil
}

// modules lists the names of a namespace's modules.
func modules(namespace string) []string {
	var names []string
	for _, module := range caddy.GetModules(namespace) {
		names = append(names, module.ID.Name())
	}
	return names
}
