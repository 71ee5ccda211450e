// Package inline reads entities in Caddyfile syntax.
package inline

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// A walker reads entities in Caddyfile syntax by their tables and gives them
// the shape of the declarative format. It knows no entity by itself, apart
// from what their first arguments mean.
type walker struct {
	d       *caddyfile.Dispenser
	catalog *entity.Catalog
	only    []string // the fields that may be set; nil: all
}

// Entities reads a block of entities, and answers them in the shape of the
// declarative format. The dispenser stands before the block.
func Entities(d *caddyfile.Dispenser, c *entity.Catalog) (schema.Object, error) {
	w := &walker{d: d, catalog: c}
	return w.document()
}

// Plugin reads the name of a plugin, and a block with its settings. The dispenser
// stands before the name. Of the fields beside the config only those given may be
// set.
func Plugin(d *caddyfile.Dispenser, c *entity.Catalog, fields ...string) (schema.Object, error) {
	w := &walker{d: d, catalog: c, only: append(fields, "name", "config")}
	into := schema.Object{}
	if err := w.entity(c.Table("plugins"), into, nil); err != nil {
		return nil, err
	}
	return into["plugins"].([]any)[0].(schema.Object), nil
}

// fieldOf answers a field of the entity that may be set, or nil.
func (w *walker) fieldOf(e *inner, name string) *schema.Field {
	if w.only != nil && !slices.Contains(w.only, name) {
		return nil
	}
	return field(e.table.Fields, name)
}

// arguments are the fields that the arguments of an entity fill, in order.
// Other tables have their key.
var arguments = map[string][]string{
	"plugins":  {"name"},
	"routes":   {"name"}, // and any number of paths
	"services": {"name", "url"},
	"targets":  {"target", "weight"},
	"vaults":   {"prefix", "name"},
}

// noun is how an entity of a table is called: "service", "key_set".
func noun(t *schema.Table) string { return strings.TrimSuffix(t.Name, "s") }

// document reads the block of the store.
func (w *walker) document() (schema.Object, error) {
	tables := make(map[string]*schema.Table)
	for _, t := range w.catalog.Tables() {
		if t.Path != "" { // else there are no entities that one could write
			tables[noun(t)] = t
		}
	}
	doc := schema.Object{}
	for nesting := w.d.Nesting(); w.d.NextBlock(nesting); {
		t := tables[w.d.Val()]
		if t == nil {
			return nil, w.unknown("memory", "one of", slices.Collect(maps.Keys(tables)))
		}
		if err := w.entity(t, doc, nil); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// unknown is the error for a word that means nothing here.
func (w *walker) unknown(where, what string, accepted []string) error {
	if w.d.Val() == "}" {
		return w.brace()
	}
	slices.Sort(accepted)
	return w.d.Errf("unrecognized option %q in %s; expected %s: %s", w.d.Val(), where, what, strings.Join(accepted, ", "))
}

// brace is the error for a block that is written in one line, which the
// Caddyfile's grammar cannot tell from arguments.
func (w *walker) brace() error {
	return w.d.Err("a closing brace stands on a line of its own, as does each option")
}

// An inner is what is known of an entity while its lines are read.
type inner struct {
	table    *schema.Table
	object   schema.Object
	lines    map[string]caddyfile.Token // where fields were set
	children map[string]*schema.Table   // by noun
}

// entity reads an entity, the dispenser being at its noun, and appends it to
// the list of its table in parent. belongs is the foreign field that stands for
// the parent, nil at the top.
func (w *walker) entity(t *schema.Table, parent schema.Object, belongs *entity.Child) error {
	e := &inner{table: t, object: schema.Object{}, lines: make(map[string]caddyfile.Token), children: make(map[string]*schema.Table)}
	start := w.d.Token()
	belonging := make(map[string]*entity.Child)
	for _, c := range w.catalog.Children(t.Name) {
		if c.Table.Path != "" && e.children[noun(c.Table)] == nil {
			e.children[noun(c.Table)], belonging[c.Table.Name] = c.Table, &c
		}
	}
	if err := w.arguments(e); err != nil {
		return err
	}
	if w.only != nil {
		clear(e.children)
	}
	for nesting := w.d.Nesting(); w.d.NextBlock(nesting); {
		name := w.d.Val()
		var err error
		if child := e.children[name]; child != nil && field(t.Fields, name) == nil {
			err = w.entity(child, e.object, belonging[child.Name])
		} else {
			err = w.option(e, name)
		}
		if err != nil {
			return err
		}
	}
	if err := w.check(e, start, belongs); err != nil {
		return err
	}
	list, _ := parent[t.Name].([]any)
	parent[t.Name] = append(list, e.object)
	return nil
}

// arguments reads what stands behind the noun.
func (w *walker) arguments(e *inner) error {
	fields, known := arguments[e.table.Name]
	if !known && e.table.Key != "" {
		fields = []string{e.table.Key}
	}
	for w.d.NextArg() {
		word := w.d.Val()
		switch {
		case word == "}":
			return w.brace()
		case e.table.Name == "routes" && (strings.HasPrefix(word, "/") || strings.HasPrefix(word, "~")):
			list, _ := e.object["paths"].([]any)
			e.object["paths"] = append(list, word)
			e.lines["paths"] = w.d.Token()
			fields = nil
		case len(fields) == 0:
			return w.d.Errf("unexpected argument %q: %s", word, usage(e.table))
		default:
			v, err := w.scalar(field(e.table.Fields, fields[0]), word)
			if err != nil {
				return err
			}
			e.object[fields[0]] = v
			e.lines[fields[0]] = w.d.Token()
			fields = fields[1:]
		}
	}
	return nil
}

// usage tells which arguments an entity takes.
func usage(t *schema.Table) string {
	fields, known := arguments[t.Name]
	if !known && t.Key != "" {
		fields = []string{t.Key}
	}
	if t.Name == "routes" {
		return "route takes [<name>] [<paths...>], each path beginning with / or ~/"
	}
	if len(fields) == 0 {
		return noun(t) + " takes no arguments"
	}
	text := noun(t) + " takes"
	for _, f := range fields {
		text += " [<" + f + ">]"
	}
	return text
}

// option reads a field of an entity, the dispenser being at its name. What is
// no field of a table with a variable record, such as a plugin's config, is
// one of that record.
func (w *walker) option(e *inner, name string) error {
	e.lines[name] = w.d.Token()
	f := w.fieldOf(e, name)
	record := abstract(e.table)
	if f == nil && record == nil {
		return w.unknown(noun(e.table), "a field or an entity that belongs to it", w.accepted(e))
	}
	if f != nil && f != record {
		return w.field(e.object, f)
	}
	config, _ := e.object[record.Name].(schema.Object)
	if config == nil {
		config = schema.Object{}
		e.object[record.Name] = config
		e.lines[record.Name] = w.d.Token()
	}
	fields := w.variant(e, record)
	switch {
	case f == record && fields == nil:
		return w.freeBlock(config)
	case f == record:
		return w.record(config, fields, record.Name)
	case fields == nil:
		return w.free(config)
	case field(fields, name) == nil:
		return w.unknown(noun(e.table), "a field of it or of its "+record.Name, append(w.accepted(e), names(fields)...))
	default:
		return w.field(config, field(fields, name))
	}
}

// accepted lists the words that may begin a line in the block of an entity.
func (w *walker) accepted(e *inner) []string {
	if w.only != nil {
		return slices.Clone(w.only)
	}
	return slices.AppendSeq(names(e.table.Fields), maps.Keys(e.children))
}

// abstract returns the field of a table whose record depends on the entity's
// variant, nil if there is none.
func abstract(t *schema.Table) *schema.Field {
	for i := range t.Fields.List {
		if f := &t.Fields.List[i]; f.Abstract {
			return f
		}
	}
	return nil
}

// variant returns the fields of the abstract record, nil if they are not known
// to this build.
func (w *walker) variant(e *inner, record *schema.Field) *schema.Fields {
	name, _ := e.object[e.table.VariantKey].(string)
	fields, _ := w.catalog.Variant(e.table.Name, name)
	if f := fields.Field(record.Name); f != nil {
		return f.Fields
	}
	return nil
}

// check reports what the table would refuse, at the line of the field if that
// is known. Whether references lead anywhere shows when the store opens.
func (w *walker) check(e *inner, start caddyfile.Token, belongs *entity.Child) error {
	if record := abstract(e.table); record != nil && w.variant(e, record) == nil {
		return nil
	}
	input := maps.Clone(e.object)
	for _, t := range e.children {
		delete(input, t.Name)
	}
	someone := schema.Object{"id": uuid.Max.String()}
	for _, r := range e.table.References() {
		if input[r.Field] != nil {
			input[r.Field] = someone
		}
	}
	if belongs != nil {
		input[belongs.Field] = someone
	}
	refused := e.table.Validate(input, nil)
	if refused == nil {
		return nil
	}
	if len(refused.Fields) == 0 {
		return at(start, "%s: %s", noun(e.table), refused.Message)
	}
	place, name := start, ""
	for field := range refused.Fields {
		line, set := e.lines[field]
		if !set {
			line = start
		}
		if name == "" || line.Line < place.Line || line.Line == place.Line && field < name {
			place, name = line, field
		}
	}
	path, message := first(refused.Fields[name], name)
	if record := abstract(e.table); record != nil && name == record.Name {
		// the settings of a plugin may stand among its own fields
		setting, _, _ := strings.Cut(strings.TrimPrefix(path, name+"."), ".")
		if line, set := e.lines[setting]; set {
			place = line
		}
	}
	if name == "@entity" {
		return at(place, "%s: %s", noun(e.table), message)
	}
	return at(place, "%s: %s: %s", noun(e.table), path, message)
}

// first finds a message in a tree of them, and the path to it.
func first(v any, path string) (string, string) {
	switch v := v.(type) {
	case []any:
		for i, e := range v {
			if e != nil {
				return first(e, fmt.Sprintf("%s[%d]", path, i))
			}
		}
	case schema.Object:
		if keys := slices.Sorted(maps.Keys(v)); len(keys) > 0 {
			return first(v[keys[0]], path+"."+keys[0])
		}
	}
	return strings.TrimSuffix(path, ".@entity[0]"), fmt.Sprint(v)
}

// at is Dispenser.Errf for a token that was read before.
func at(t caddyfile.Token, format string, args ...any) error {
	return fmt.Errorf("%s, at %s:%d", fmt.Sprintf(format, args...), t.File, t.Line)
}
