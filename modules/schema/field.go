package schema

import "slices"

// A Field describes one field of a record: its type, what fills it when it is
// absent, and the checks that its value must pass. The checks run in the order
// in which they stand here, and the first that fails gives the message.
type Field struct {
	Name string
	Kind Kind
	Doc  string // one sentence for people, shown by /schemas

	Required bool
	Default  any  // a normalised value for an absent field; it is copied
	Auto     Auto // what the gateway fills in by itself
	Unique   bool // no two rows may have the same value

	Null      bool      // the field must be unset (Kong's `eq = null`)
	NotEqual  any       // a value that is refused (Kong's `ne`)
	NotOneOf  []any     // values that are refused
	OneOf     []any     // the only values that are accepted
	Timestamp bool      // greater than zero
	UUID      bool      // the text of a UUID, which is stored in lower case
	Between   []float64 // lowest and highest number, both accepted
	LenEq     *int      // exact length: bytes of a string, elements of the rest
	LenMin    *int      // default for strings: 1, so that empty ones are refused
	LenMax    *int
	Rules     []Rule // further checks, in this order
	Err       string // replaces the message of whichever check failed

	Elem   *Field  // of the elements of arrays and sets, and the values of maps
	Keys   *Field  // of the keys of maps
	Fields *Fields // of records

	Reference string   // the table that a foreign field points to
	OnDelete  OnDelete // what a deletion over there does here

	// Abstract marks a record whose fields depend on Table.VariantKey.
	Abstract bool

	// Referenceable fields also take a vault reference such as
	// "{vault://env/secret}", which no check looks into.
	Referenceable bool

	// Encrypted fields hold secrets.
	Encrypted bool

	// Seal, of a table's own field that is a string, answers what is stored in
	// its place, such as a password's hash; was is what is stored now, empty if
	// nothing is. A text that it answered must be sealed to itself. Clients do
	// not get to see it: they see null.
	Seal func(value, was string) string

	// Lifetime marks a field of a table's own that is an integer: clients write
	// the seconds from now after which the row is gone, 0 being never, and read
	// those that are left. Objects have a [Moment], and so has the stored row. A
	// table has one such field at most.
	Lifetime bool

	// Transient fields are part of what clients send and see, but not of the
	// stored row.
	Transient bool

	parent *Table // of foreign fields, set by Link
}

// Auto tells what fills a field that clients usually leave out.
type Auto int

const (
	NotAuto    Auto = iota
	AutoID          // a UUID
	AutoCreate      // the time at which the row was created; clients may set it
	AutoUpdate      // the time of the last write; always overwritten
	AutoString      // 32 random letters and digits
)

// Fields is an ordered record: the shape of a table, of a nested record or of
// a plugin's configuration.
type Fields struct {
	List       []Field
	Checks     []Check     // relations between fields, after the fields' own checks
	Shorthands []Shorthand // input fields that stand for others
}

// Field answers the field of that name, or nil.
func (fs *Fields) Field(name string) *Field {
	if fs == nil {
		return nil
	}
	for i := range fs.List {
		if fs.List[i].Name == name {
			return &fs.List[i]
		}
	}
	return nil
}

// A Shorthand is an input field that is written as others, and never stored or
// shown under its own name (unless a field has the same name).
type Shorthand struct {
	Field Field

	// Expand answers the fields that the value stands for. They take
	// precedence over what the input says about them. A nil object changes
	// nothing.
	Expand func(value any) Object

	// Replaced, instead of Expand, is the path of the field that has taken the
	// place of a deprecated one, such as "redis.host". An input that has both,
	// with different values, is refused.
	Replaced string
}

// A Table describes the entities of one kind.
type Table struct {
	Name string // "key_sets"
	Path string // segment in Admin API URLs, "key-sets"; empty: no endpoints

	// Nested is the segment below the rows that rows of this table refer to, as
	// in /consumers/anna/key-auth; empty: Path.
	Nested string
	Key    string // the field that may stand for the id in URLs; empty: none

	// CacheKey lists the fields that are unique together.
	CacheKey []string

	Fields *Fields

	// VariantKey names the field, if any, whose value picks one of Variants.
	// If it is a set, its first value that has a variant does. Without a
	// variant the entity is refused with VariantError, in which %s is the
	// value.
	VariantKey   string
	VariantError string

	// Variants refine the table: their fields replace those of the same
	// name, their checks are added.
	Variants map[string]*Fields

	// Transform computes fields from others once the object is valid. It may
	// change the object in place.
	Transform func(o Object)

	// Hooks for what depends on other rows; see Related. Nil: nothing does.
	Related Related
}

// Field answers the field of that name, or nil.
func (t *Table) Field(name string) *Field { return t.Fields.Field(name) }

// Below answers the field that may stand for the id among the rows that refer to
// one parent: the one that is unique together with the foreign field. It is
// empty if there is none, or the table has a key for all rows.
func (t *Table) Below(foreign string) string {
	if t.Key != "" || len(t.CacheKey) != 2 {
		return ""
	}
	switch i := slices.Index(t.CacheKey, foreign); i {
	case 0, 1:
		if other := t.CacheKey[1-i]; t.Field(other).Kind == String {
			return other
		}
	}
	return ""
}

// Lifetime answers the field that says when a row is gone, or nil.
func (t *Table) Lifetime() *Field {
	for i := range t.Fields.List {
		if f := &t.Fields.List[i]; f.Lifetime {
			return f
		}
	}
	return nil
}

// References lists the foreign fields in table order.
func (t *Table) References() []Reference {
	var refs []Reference
	for i := range t.Fields.List {
		if f := &t.Fields.List[i]; f.Kind == Foreign {
			refs = append(refs, Reference{f.Name, f.Reference, f.OnDelete})
		}
	}
	return refs
}

// Uniques lists the fields whose value belongs to one row only, without id.
func (t *Table) Uniques() []string {
	var names []string
	for i := range t.Fields.List {
		if f := &t.Fields.List[i]; f.Unique {
			names = append(names, f.Name)
		}
	}
	return names
}

// Link connects the foreign fields of the tables to the tables that they
// refer to, so that references by another key than the id can be resolved.
// Catalogs call it once; the tables must not be in use yet.
func Link(tables []*Table) {
	for _, t := range tables {
		for i := range t.Fields.List {
			f := &t.Fields.List[i]
			if f.Kind != Foreign {
				continue
			}
			if n := slices.IndexFunc(tables, func(p *Table) bool { return p.Name == f.Reference }); n >= 0 {
				f.parent = tables[n]
			}
		}
	}
}

// Values makes a list for OneOf and NotOneOf, and for defaults.
func Values[T string | int64](list ...T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}
