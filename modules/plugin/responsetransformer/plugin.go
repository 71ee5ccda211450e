// Package responsetransformer is the plugin response-transformer: headers and JSON
// bodies of responses are changed on their way to the client.
package responsetransformer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/transform"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin changes the headers of responses, and the members of JSON objects in
// their bodies: it removes, renames, replaces, adds and appends, in this order.
//
// Only bodies of the type application/json are read, and only if something is to
// be changed in them. Only their top level is looked at: a dot is part of a name.
type Plugin struct {
	// What is taken out. Default: nothing.
	Remove Names `json:"remove"`

	// What gets another name, as `old:new`. Default: nothing.
	Rename Names `json:"rename"`

	// What gets another value if it is there, as `name:value`. Default:
	// nothing.
	Replace Values `json:"replace"`

	// What is put in if it is not there, as `name:value`. Default: nothing.
	Add Values `json:"add"`

	// What is added to what is there, as `name:value`: a further header, or a
	// further element of a list. Default: nothing.
	Append Values `json:"append"`

	headers transform.Rules[value]
	body    transform.Rules[value]
}

// Names are what is removed or renamed.
type Names struct {
	// Members of a JSON body. Default: none.
	JSON []string `json:"json"`

	// Headers. Default: none.
	Headers []string `json:"headers"`
}

// Values are what is replaced, added or appended.
type Values struct {
	// Members of a JSON body. Default: none.
	JSON []string `json:"json"`

	// The types of these values, in the same order: `string`, `boolean` or
	// `number`. Default: `string`.
	JSONTypes []string `json:"json_types"`

	// Headers. Default: none.
	Headers []string `json:"headers"`
}

// A value stands for a name or text, and for JSON.
type value struct {
	text string
	json json.RawMessage
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.response_transformer", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/response-transformer/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	list := func(name, doc string, elem schema.Field) schema.Field {
		elem.Kind = schema.String
		return schema.Field{Name: name, Kind: schema.Array, Required: true, Default: []any{}, Elem: &elem, Doc: doc}
	}
	names := func(name, doc string, check func(string) string, rules ...schema.Rule) schema.Field {
		header := append(slices.Clone(rules), schema.Custom(check))
		return schema.Field{Name: name, Kind: schema.Record, Required: true, Doc: doc, Fields: &schema.Fields{List: []schema.Field{
			list("json", "Members of a JSON body.", schema.Field{Rules: rules}),
			list("headers", "Headers.", schema.Field{Rules: header}),
		}}}
	}
	pair := schema.Match("^[^:]+:.*$", func(s string) bool { return strings.IndexByte(s, ':') > 0 })
	values := func(name, doc string) schema.Field {
		f := names(name, doc, transform.CheckHeader, pair)
		types := list("json_types", "The types of the values, in the same order.", schema.Field{OneOf: schema.Values("boolean", "number", "string")})
		f.Fields.List = []schema.Field{f.Fields.List[0], types, f.Fields.List[1]}
		return f
	}
	return entity.PluginKind{Priority: 800, Forgets: true, Protocols: entity.HTTPProtocols, Config: &schema.Fields{List: []schema.Field{
		names("remove", "What is taken out.", transform.CheckHeader),
		names("rename", "What gets another name, as `old:new`.", transform.CheckHeaders, pair),
		values("replace", "What gets another value if it is there, as `name:value`."),
		values("add", "What is put in if it is not there, as `name:value`."),
		values("append", "What is added to what is there, as `name:value`."),
	}}}
}

// Provision reads the pairs.
func (p *Plugin) Provision(caddy.Context) error {
	for _, set := range []struct {
		name  string
		rules *transform.Rules[value]
		of    func(Names) []string
		from  func(Values) ([]string, []string)
	}{
		{"headers", &p.headers, func(n Names) []string { return n.Headers }, func(v Values) ([]string, []string) { return v.Headers, nil }},
		{"json", &p.body, func(n Names) []string { return n.JSON }, func(v Values) ([]string, []string) { return v.JSON, v.JSONTypes }},
	} {
		r := set.rules
		for _, name := range set.of(p.Remove) {
			name, _ = transform.Split(name)
			r.Remove = append(r.Remove, name)
		}
		r.Rename = pairs(set.of(p.Rename), nil)
		r.Replace = pairs(set.from(p.Replace))
		r.Add = pairs(set.from(p.Add))
		r.Append = pairs(set.from(p.Append))
	}
	return nil
}

func pairs(list, types []string) []transform.Pair[value] {
	out := make([]transform.Pair[value], len(list))
	for i, text := range list {
		name, v := transform.Split(text)
		kind := "string"
		if i < len(types) {
			kind = types[i]
		}
		out[i] = transform.Pair[value]{Name: name, Value: value{v, cast(v, kind)}}
	}
	return out
}

// cast answers nil for a number that is none, and for no text at all.
func cast(text, kind string) json.RawMessage {
	switch kind {
	case "boolean":
		return json.RawMessage(strconv.FormatBool(text == "true"))
	case "number":
		text = strings.TrimSpace(text)
		if !json.Valid([]byte(text)) { // such as 0x10 or .5, which Lua reads, too
			n, err := strconv.ParseFloat(text, 64)
			if i, hex := strconv.ParseInt(text, 0, 64); err != nil && hex == nil {
				n, err = float64(i), nil
			}
			if err != nil {
				return nil
			}
			b, err := json.Marshal(n)
			if err != nil { // infinite
				return nil
			}
			return b
		}
		if c := text[0]; c != '-' && (c < '0' || c > '9') {
			return nil
		}
		return json.RawMessage(text)
	}
	if text == "" {
		return nil
	}
	return transform.Text(text)
}

func textOf(v value) (string, bool)          { return v.text, v.text != "" }
func jsonOf(v value) (json.RawMessage, bool) { return v.json, v.json != nil }

// HeaderFilter changes the headers.
func (p *Plugin) HeaderFilter(x *plugin.Exchange) error {
	transform.Apply(&p.headers, transform.Header(x.ResponseHeader()), textOf, textOf)
	return nil
}

// transformed changes the body; an error means that it is none that can be.
func (p *Plugin) transformed(body []byte) ([]byte, error) {
	o, err := transform.ParseObject(body)
	if err != nil {
		return nil, fmt.Errorf("failed parsing json body: %w", err)
	}
	if !transform.Apply(&p.body, o, textOf, jsonOf) {
		return body, nil
	}
	return o.Bytes(), nil
}

// isJSON reports whether a header Content-Type names application/json.
func isJSON(h http.Header) bool {
	for _, v := range h["Content-Type"] {
		for part := range strings.SplitSeq(v, ",") {
			kind, _, _ := strings.Cut(part, ";")
			if strings.EqualFold(strings.TrimSpace(kind), "application/json") {
				return true
			}
		}
	}
	return false
}

// Interface guards
var (
	_ plugin.Described    = (*Plugin)(nil)
	_ plugin.HeaderFilter = (*Plugin)(nil)
	_ plugin.BodyFilter   = (*Plugin)(nil)
	_ caddy.Provisioner   = (*Plugin)(nil)
)
