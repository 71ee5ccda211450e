// Package requesttransformer is the plugin request-transformer: requests are
// changed on their way to the service.
package requesttransformer

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/transform"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin changes what the service gets of a request: the path, the method,
// headers, the body and the query, in this order. In each of the last three it
// removes, renames, replaces, adds and appends, in this order.
//
// Values are templates: `$(headers.x)`, `$(query_params.x)`,
// `$(uri_captures["x"] or "default")` and `$(shared.x)` stand for what the
// request says. The header Host can only be replaced.
type Plugin struct {
	// The method that the service gets, in upper case. Fields of a form go
	// into the query, too, if that is GET, HEAD or TRACE. Default: the
	// client's.
	HTTPMethod string `json:"http_method"`

	// What is taken out. Default: nothing.
	Remove Set `json:"remove"`

	// What gets another name, as `old:new`. Default: nothing.
	Rename Set `json:"rename"`

	// What gets another value if it is there, as `name:value`. Default:
	// nothing.
	Replace Replace `json:"replace"`

	// What is put in if it is not there, as `name:value`. Default: nothing.
	Add Set `json:"add"`

	// What is added to what is there, as `name:value`: a further header or
	// argument, or a further element of a list. Default: nothing.
	Append Set `json:"append"`

	headers, body, query transform.Rules[template]
	uri                  template
	expressive           bool // a value depends on the request
}

// Set is what is changed, by its place.
type Set struct {
	// Members of a JSON object, or fields of a form. Default: none.
	Body []string `json:"body"`

	// Headers. Default: none.
	Headers []string `json:"headers"`

	// Arguments of the query. Default: none.
	Querystring []string `json:"querystring"`
}

// Replace is what gets another value.
type Replace struct {
	Set

	// The path that the service gets. It begins with a slash. Default: the one
	// by route and service.
	URI string `json:"uri"`
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.request_transformer", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/request-transformer/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	list := func(name, doc string, rules ...schema.Rule) schema.Field {
		return schema.Field{Name: name, Kind: schema.Array, Required: true, Default: []any{}, Doc: doc,
			Elem: &schema.Field{Kind: schema.String, Rules: rules}}
	}
	pair := schema.Match("^[^:]+:.*$", func(s string) bool { return strings.IndexByte(s, ':') > 0 })
	set := func(name, doc string, body, header []schema.Rule) schema.Field {
		return schema.Field{Name: name, Kind: schema.Record, Required: true, Doc: doc, Fields: &schema.Fields{List: []schema.Field{
			list("body", "Members of a JSON object, or fields of a form.", body...),
			list("headers", "Headers.", header...),
			list("querystring", "Arguments of the query.", body...),
		}}}
	}
	value, header := []schema.Rule{schema.Custom(checkValue)}, []schema.Rule{pair, schema.Custom(checkHeaderValue)}
	replace := set("replace", "What gets another value if it is there, as `name:value`.", value, header)
	replace.Fields.List = append(replace.Fields.List, schema.Field{Name: "uri", Kind: schema.String,
		Rules: []schema.Rule{schema.Custom(checkTemplate)}, Doc: "The path that the service gets."})
	return entity.PluginKind{Priority: 801, Forgets: true, Config: &schema.Fields{List: []schema.Field{
		{Name: "http_method", Kind: schema.String, Doc: "The method that the service gets.",
			Rules: []schema.Rule{schema.Match("^%u+$", upper)}},
		set("remove", "What is taken out.", nil, []schema.Rule{schema.Custom(transform.CheckHeader)}),
		set("rename", "What gets another name, as `old:new`.", value, []schema.Rule{pair, schema.Custom(transform.CheckHeaders)}),
		replace,
		set("add", "What is put in if it is not there, as `name:value`.", value, header),
		set("append", "What is added to what is there, as `name:value`.", value, header),
	}}}
}

func upper(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < 'A' || r > 'Z' }) < 0
}

func checkHeaderValue(text string) string {
	if msg := transform.CheckHeader(text); msg != "" {
		return msg
	}
	_, value := transform.Split(text)
	return checkTemplate(value)
}

// checkValue wants a name and a value.
func checkValue(text string) string {
	name, value := transform.Split(text)
	if name == "" || value == "" {
		return fmt.Sprintf("key '%s' has no value", name)
	}
	return checkTemplate(value)
}

func checkTemplate(text string) string {
	if _, err := parseTemplate(text); err != nil {
		return fmt.Sprintf("value '%s' is not in supported format, error: %v", text, err)
	}
	return ""
}

// Provision reads names and templates.
func (p *Plugin) Provision(caddy.Context) (err error) {
	pairs := func(list []string) (out []transform.Pair[template]) {
		for _, text := range list {
			name, value := transform.Split(text)
			t, e := parseTemplate(value)
			if e != nil && err == nil {
				err = fmt.Errorf("%q: %w", text, e)
			}
			out = append(out, transform.Pair[template]{Name: name, Value: t})
		}
		return out
	}
	for _, place := range []struct {
		rules *transform.Rules[template]
		of    func(*Set) []string
	}{
		{&p.headers, func(s *Set) []string { return s.Headers }},
		{&p.body, func(s *Set) []string { return s.Body }},
		{&p.query, func(s *Set) []string { return s.Querystring }},
	} {
		for _, text := range place.of(&p.Remove) {
			name, _ := transform.Split(text)
			place.rules.Remove = append(place.rules.Remove, name)
		}
		place.rules.Rename, place.rules.Replace = pairs(place.of(&p.Rename)), pairs(place.of(&p.Replace.Set))
		place.rules.Add, place.rules.Append = pairs(place.of(&p.Add)), pairs(place.of(&p.Append))
	}
	if err != nil {
		return err
	}
	if p.uri, err = parseTemplate(p.Replace.URI); err != nil {
		return fmt.Errorf("replace.uri: %w", err)
	}
	p.expressive = p.expressions()
	return nil
}

// expressions reports whether a value depends on the request.
func (p *Plugin) expressions() bool {
	if p.uri.parts != nil {
		return true
	}
	for _, r := range []*transform.Rules[template]{&p.headers, &p.body, &p.query} {
		for _, t := range slices.Concat(r.Rename, r.Replace, r.Add, r.Append) {
			if t.Value.parts != nil {
				return true
			}
		}
	}
	return false
}

// Access changes the request.
func (p *Plugin) Access(x *plugin.Exchange) error {
	v := &values{x: x, query: x.Query()}
	if p.expressive {
		v.headers = maps.Clone(x.Header())
	}
	r := renderer{values: v}
	if path, ok := r.text(p.uri); ok {
		if err := setPath(x, path); err != nil {
			return err
		}
	}
	if p.HTTPMethod != "" {
		if err := p.setMethod(x); err != nil {
			return err
		}
	}
	if !p.headers.Empty() {
		transform.Apply(&p.headers, header{x}, r.text, r.text)
	}
	if !p.body.Empty() && r.err == nil {
		if err := p.changeBody(x, &r); err != nil {
			return err
		}
	}
	if !p.query.Empty() {
		args := transform.ParseArgs(x.Query())
		if transform.Apply(&p.query, args, r.text, r.text) {
			x.SetQuery(args.String())
		}
	}
	if r.err != nil {
		return fmt.Errorf("failed to render the template: %w", r.err)
	}
	return nil
}

// A renderer keeps the first error of templates.
type renderer struct {
	values *values
	err    error
}

// text answers what a template stands for; false: nothing.
func (r *renderer) text(t template) (string, bool) {
	s, err := t.render(r.values)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("%q: %w", t.text, err)
	}
	return s, s != "" && err == nil
}

// setPath gives the service another path. What may not stand in one is escaped.
func setPath(x *plugin.Exchange, path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("replace.uri: expected a path that begins with a slash, got %q", path)
	}
	path, query, found := strings.Cut(path, "?")
	if found && query != "" {
		if have := x.Query(); have != "" {
			query += "&" + have
		}
		x.SetQuery(query)
	}
	u := url.URL{Path: path}
	if decoded, err := url.PathUnescape(path); err == nil {
		u.Path, u.RawPath = decoded, path
	}
	x.SetPath(u.EscapedPath())
	return nil
}

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
)
