package declarative

import (
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// entry is an entity of the document.
type entry struct {
	table  *schema.Table
	node   *node
	index  int               // in its list, from 1
	order  int               // in the document
	parent *entry            // nil at the top level
	field  string            // the foreign field that parent fills
	inner  map[string]string // the tables that may stand in it

	id     uuid.UUID
	named  bool          // the document gives the id
	lost   bool          // it refers to something that is not there
	fields schema.Object // without nested entities and annotations; nil once processed
}

// label is what a person would call the entity: its natural key, else the id
// that the document gives.
func (e *entry) label(x index) string {
	m, _ := e.node.value.(members)
	for _, key := range []string{e.table.Key, "name", "id"} {
		if n := x.get(m, key); n != nil && key != "" {
			if text, ok := n.value.(string); ok && text != "" {
				return text
			}
		}
	}
	return ""
}

// reference is the key under which Kong reports references: the natural key if
// it is unique, else the id.
func (e *entry) reference() string {
	if f := e.table.Field(e.table.Key); f != nil && f.Unique {
		m, _ := e.node.value.(members)
		if n := m.get(e.table.Key); n != nil {
			if text, ok := n.value.(string); ok {
				return text
			}
		}
	}
	return e.id.String()
}

// place is the path to the entity; positions count from 1.
func (e *entry) place() []any {
	if e.parent == nil {
		return []any{e.table.Name, e.index}
	}
	return append(e.parent.place(), e.table.Name, e.index)
}

// input answers what was written for the entity, without those within it.
func (e *entry) input() (schema.Object, bool) {
	if e == nil {
		return nil, false
	}
	m, ok := e.node.value.(members)
	if !ok {
		return nil, false
	}
	o := make(schema.Object, len(m))
	for i := range m {
		if _, nested := e.inner[m[i].key]; !nested {
			o[m[i].key] = m[i].plain()
		}
	}
	return o, true
}
