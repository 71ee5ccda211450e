package declarative

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Options are what Resolve needs besides the tables.
type Options struct {
	// Now is the time that rows are stamped with. Default: the time of the call.
	Now time.Time

	// NewID makes the identifiers of rows for which Kong has no deterministic
	// one. Default: random (version 4).
	NewID func() uuid.UUID

	// Progress, if set, is called now and then with the number of rows that
	// were checked.
	Progress func(done, total int)
}

// A Row is one entity of a document, complete and valid by itself.
type Row struct {
	Table  string
	ID     uuid.UUID
	Object schema.Object // as schema.Table.Process answers it
	Line   int           // where the entity begins, 0 if unknown

	at    *entry
	named bool     // the document gives the id
	fresh []string // fields that the gateway filled and that should not change by that
}

// Resolve makes flat rows of the document: it takes children out of their
// parents, connects references by name or id, generates identifiers as Kong
// does, fills defaults and validates. Rows come parents before children, and
// in the order of the text within a table.
//
// With errors there are no rows. The errors are all that the document has:
// one does not hide another, except within one entity as its table decides.
func (d *Document) Resolve(c *entity.Catalog, opt Options) ([]Row, *Errors) {
	if opt.Now.IsZero() {
		opt.Now = time.Now()
	}
	if opt.NewID == nil {
		opt.NewID = uuid.New
	}
	r := &resolver{
		catalog: c,
		env:     c.Env(opt.Now, opt.NewID, nil),
		errs:    &Errors{},
		nested:  map[string]map[string]string{},
		tables:  map[string]*contents{},
	}
	r.env.Declarative = true
	r.document(d)
	rows := r.rows(opt.Progress)
	if len(r.errs.Problems) > 0 {
		r.errs.sort()
		return nil, r.errs
	}
	return rows, nil
}

// contents are the entities of one table, wherever they stand.
type contents struct {
	entries []*entry
	byKey   map[string]*entry // by natural key, if it is unique
	byID    map[uuid.UUID]*entry
	taken   map[string]bool // values of other unique fields, with their names
}

type resolver struct {
	catalog *entity.Catalog
	env     *schema.Env
	errs    *Errors
	migrate bool                         // the paths of routes are older than version 3.0
	nested  map[string]map[string]string // by table: the tables that may stand in it, with their foreign field
	tables  map[string]*contents
	total   int
}

// list reads the entities of a table in one place.
func (r *resolver) list(t *schema.Table, m *member, parent *entry, field string) {
	list, ok := m.value.([]node)
	if empty, is := m.value.(members); !ok && m.value != nil && (!is || len(empty) > 0) { // {} is an empty list, as in Lua
		const message = "expected an array"
		if parent == nil {
			r.errs.document(m.line, m.key, message)
		} else {
			r.errs.entity(parent, ofField, []any{m.key}, message)
		}
	}
	for i := range list {
		r.entity(&entry{table: t, node: &list[i], index: i + 1, parent: parent, field: field})
	}
}

// entity reads one entity and those within it.
func (r *resolver) entity(e *entry) {
	r.total++
	e.order = r.total
	m, ok := e.node.value.(members)
	if !ok {
		r.errs.entity(e, ofSlot, nil, "expected a record")
		return
	}
	e.fields = make(schema.Object, len(m)+1)
	e.inner = r.within(e.table)
	for i := range m {
		key := m[i].key
		if _, nested := e.inner[key]; nested {
			continue
		}
		switch key {
		case "_comment", "_ignore":
			if message := annotation(&m[i]); message != "" {
				r.errs.entity(e, ofField, []any{key}, message)
			}
		case "ws_id": // of a Kong export; there is one workspace
		default:
			e.fields[key] = m[i].plain()
		}
	}
	if e.parent != nil && e.fields[e.field] != nil {
		r.errs.entity(e, ofField, []any{e.field}, "value must be null")
		delete(e.fields, e.field)
	}
	if r.migrate && e.table.Name == "routes" && (e.parent == nil || e.parent.parent == nil) {
		migratePaths(e.fields["paths"])
	}
	r.identify(e)
	for i := range m {
		if field, nested := e.inner[m[i].key]; nested {
			r.list(r.catalog.Table(m[i].key), &m[i], e, field)
		}
	}
}

// within answers the tables that may stand in an entity of t, and for each the
// foreign field by which it refers to t.
func (r *resolver) within(t *schema.Table) map[string]string {
	inner := r.nested[t.Name]
	if inner == nil {
		inner = map[string]string{}
		for _, child := range r.catalog.Children(t.Name) {
			if _, seen := inner[child.Table.Name]; !seen {
				inner[child.Table.Name] = child.Field
			}
		}
		r.nested[t.Name] = inner
	}
	return inner
}

// identify gives the entity its id and registers it, unless another one has
// the same id or natural key.
func (r *resolver) identify(e *entry) {
	t := e.table
	all := r.tables[t.Name]
	if all == nil {
		all = &contents{byKey: map[string]*entry{}, byID: map[uuid.UUID]*entry{}, taken: map[string]bool{}}
		r.tables[t.Name] = all
	}
	all.entries = append(all.entries, e)

	if text, ok := e.fields["id"].(string); ok && isUUID(text) {
		e.id, e.named = uuid.MustParse(text), true
	} else {
		e.id = r.generate(e)
	}
	if e.fields["id"] == nil { // else it is wrong, and will be reported as such
		e.fields["id"] = e.id.String()
	}
	if e.parent != nil {
		e.fields[e.field] = schema.Object{"id": e.parent.id.String()}
	}

	if key, ok := e.fields[t.Key].(string); ok && t.Field(t.Key).Unique {
		if all.byKey[key] != nil {
			r.errs.entity(e, ofSlot, nil, notUnique(t.Name, t.Key, key))
			return
		}
		all.byKey[key] = e
	}
	if all.byID[e.id] != nil {
		r.errs.entity(e, ofSlot, nil, notUnique(t.Name, "primary key", e.id.String()))
		return
	}
	all.byID[e.id] = e
}

// generate makes the id of an entity that brings none.
func (r *resolver) generate(e *entry) uuid.UUID {
	var parent uuid.UUID
	if e.parent != nil {
		parent = e.parent.id
	}
	if id, ok := entity.DeclarativeID(e.table, e.fields, e.field, parent); ok {
		return id
	}
	return r.env.NewID()
}

// rows connects, completes and validates what was read.
func (r *resolver) rows(progress func(done, total int)) []Row {
	rows := make([]Row, 0, r.total)
	for _, t := range r.catalog.Tables() {
		all := r.tables[t.Name]
		if all == nil {
			continue
		}
		references := t.References()
		for _, e := range all.entries {
			for _, ref := range references {
				r.connect(e, ref)
			}
			if progress != nil && len(rows)&1023 == 0 {
				progress(len(rows), r.total)
			}
			rows = append(rows, Row{Table: t.Name, ID: e.id, Line: e.node.line, at: e, named: e.named, fresh: fresh(e)})
			row := &rows[len(rows)-1]
			var err *schema.Error
			if row.Object, err = t.Process(schema.Insert, e.fields, nil, r.env); err != nil {
				r.errs.violation(e, err)
			} else {
				r.unique(e, all, row.Object)
			}
			e.fields = nil
		}
	}
	if progress != nil {
		progress(r.total, r.total)
	}
	return rows
}

// connect replaces the name or id of a parent by a foreign key.
func (r *resolver) connect(e *entry, ref schema.Reference) {
	v := e.fields[ref.Field]
	if v == nil || e.parent != nil && ref.Field == e.field {
		return
	}
	parent := &entry{id: uuid.Max} // no row has it, but it passes for an id
	switch v := v.(type) {
	case string:
		parent = r.find(ref.Table, v)
	case schema.Object:
		if id, ok := v["id"].(string); ok {
			parent = r.find(ref.Table, id)
		} else if key, ok := v[r.catalog.Table(ref.Table).Key].(string); ok {
			parent = r.find(ref.Table, key)
		} else {
			parent = nil
		}
	default:
		r.errs.entity(e, ofField, []any{ref.Field}, "expected a string")
	}
	if parent == nil {
		text, is := v.(string)
		if !is {
			encoded, _ := json.Marshal(v)
			text = string(encoded)
		}
		r.errs.entity(e, ofReference, []any{ref.Field},
			fmt.Sprintf("invalid reference '%s: %s' (no such entry in '%s')", ref.Field, text, ref.Table))
		parent, e.lost = &entry{id: uuid.Max}, true
	}
	e.fields[ref.Field] = schema.Object{"id": parent.id.String()}
}

// find answers the entity that a reference means, or nil.
func (r *resolver) find(table, name string) *entry {
	all := r.tables[table]
	if all == nil {
		return nil
	}
	if e := all.byKey[name]; e != nil {
		return e
	}
	if isUUID(name) {
		return all.byID[uuid.MustParse(name)]
	}
	return nil
}

// unique checks the unique fields that identify did not know yet, since their
// values may come from validation, and the fields that are unique together.
func (r *resolver) unique(e *entry, all *contents, o schema.Object) {
	check := func(fields ...string) {
		values := make([]string, len(fields))
		for i, f := range fields {
			values[i] = schema.KeyText(o[f])
		}
		name, value := strings.Join(fields, ", "), strings.Join(values, ", ")
		if at := name + "\x00" + value; all.taken[at] {
			r.errs.entity(e, ofSlot, nil, notUnique(e.table.Name, name, value))
		} else {
			all.taken[at] = true
		}
	}
	for _, f := range e.table.Uniques() {
		if f != e.table.Key && o[f] != nil {
			check(f)
		}
	}
	if len(e.table.CacheKey) > 1 && all.byID[e.id] == e && !e.lost {
		check(e.table.CacheKey...)
	}
}

// notUnique is what Kong says of a second entity with the same key.
func notUnique(table, field, value string) string {
	return fmt.Sprintf("uniqueness violation: '%s' entity with %s set to '%s' already declared", table, field, value)
}

// fresh lists the fields that the gateway fills for the entity by itself, and
// that an existing row should keep.
func fresh(e *entry) []string {
	var names []string
	for i := range e.table.Fields.List {
		f := &e.table.Fields.List[i]
		if (f.Auto == schema.AutoCreate || f.Auto == schema.AutoString) && e.fields[f.Name] == nil {
			names = append(names, f.Name)
		}
	}
	return names
}
