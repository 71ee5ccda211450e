package requesttransformer

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/transform"
)

// values are what templates see of a request: as it was before the plugin
// changes anything.
type values struct {
	x       *plugin.Exchange
	headers http.Header
	query   string
	args    *transform.Args // of the query, once somebody asked
}

// root is the table of that name.
func root(name string) expr {
	return func(v *values) (any, error) {
		switch name {
		case "headers":
			return table(v.header), nil
		case "query_params":
			return table(v.param), nil
		case "uri_captures":
			return table(v.capture), nil
		}
		return tableOf(v.x.Shared), nil
	}
}

// header answers the first value. As in nginx, an underscore may stand for a dash.
func (v *values) header(key any) any {
	name, ok := key.(string)
	if !ok {
		return nil
	}
	if strings.EqualFold(name, "host") {
		return v.x.Host()
	}
	for _, name := range []string{name, strings.ReplaceAll(name, "_", "-")} {
		if values := v.headers[http.CanonicalHeaderKey(name)]; len(values) > 0 {
			return values[0]
		}
	}
	return nil
}

// param answers the first value; true for an argument without one.
func (v *values) param(key any) any {
	name, ok := key.(string)
	if !ok {
		return nil
	}
	if v.args == nil {
		v.args = transform.ParseArgs(v.query)
	}
	switch value, bare, ok := v.args.Value(name); {
	case !ok:
		return nil
	case bare:
		return true
	default:
		return value
	}
}

// capture answers a group of the route's path, by name or number.
func (v *values) capture(key any) any {
	var value string
	var ok bool
	switch key := key.(type) {
	case string:
		value, ok = v.x.Captures.Named(key)
	case float64:
		value, ok = v.x.Captures.Group(int(key))
	}
	if !ok {
		return nil
	}
	return value
}

func tableOf(m map[string]any) table {
	return func(key any) any {
		name, _ := key.(string)
		switch value := m[name].(type) {
		case nil, bool, float64, string:
			return value
		case int:
			return float64(value)
		case map[string]any:
			return tableOf(value)
		case fmt.Stringer:
			return value.String()
		}
		return nil
	}
}
