package declarative

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// A Problem is one thing that is wrong with a document.
type Problem struct {
	// Line is where it is; the first line is 1. It is 0 if the document has
	// no text.
	Line int `json:"line,omitempty"`

	// Table is the table of the entity, empty if the problem is about the
	// document as such.
	Table string `json:"table,omitempty"`

	// Index is the position of the entity in its list, from 1.
	Index int `json:"index,omitempty"`

	// Entity is the entity's natural key, or else the id that was given to it.
	Entity string `json:"entity,omitempty"`

	// Field is the path of the field, with dots; positions in lists count from
	// 1. It is empty if the problem is about the entity as a whole.
	Field string `json:"field,omitempty"`

	// Message is what is wrong, in Kong's words where Kong has some.
	Message string `json:"message"`

	kind kind
	at   *entry // nil: about the document
	path []any  // of the field: keys (string) and positions (int, from 0)
}

// kind says where Kong puts a message in its tree.
type kind int

const (
	ofField     kind = iota // at the field
	ofEntity                // in the entity's list "@entity"
	ofSlot                  // in place of the entity
	ofReference             // in a list under the entity's key, as Kong's later checks do
)

// String is the problem in one line, beginning with the place.
func (p Problem) String() string {
	if p.Line > 0 {
		return fmt.Sprintf("line %d: %s", p.Line, p.Text())
	}
	return p.Text()
}

// Text is String without the line.
func (p Problem) Text() string {
	var b strings.Builder
	if p.Table != "" {
		b.WriteString(singular(p.Table))
		if p.Entity != "" {
			fmt.Fprintf(&b, " %q", p.Entity)
		} else if p.Index > 0 {
			fmt.Fprintf(&b, " %d", p.Index)
		}
		b.WriteString(": ")
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Errors are all problems of a document, in the order of its lines.
type Errors struct {
	Problems []Problem

	unreadable bool  // the text could not be parsed at all
	index      index // of the entities' members, until the problems are sorted
}

// Error lists the first problems.
func (e *Errors) Error() string {
	const most = 5
	lines := make([]string, 0, most+1)
	for i, p := range e.Problems {
		if i == most {
			lines = append(lines, fmt.Sprintf("and %d more", len(e.Problems)-most))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "; ")
}

// Body is the answer that Kong gives to a client for an invalid configuration:
// code 14, the fields a tree by table, position and field.
func (e *Errors) Body() *schema.Error {
	if e.unreadable {
		return schema.Declarative(schema.Object{"error": "failed parsing declarative configuration: " + e.Error()})
	}
	return schema.Declarative(tree(e.Problems))
}

// addf adds a problem of the document as such.
func (e *Errors) addf(line int, format string, args ...any) {
	e.Problems = append(e.Problems, Problem{Line: line, Message: fmt.Sprintf(format, args...)})
}

// document adds a problem of a member of the document.
func (e *Errors) document(line int, key, message string) {
	e.Problems = append(e.Problems, Problem{Line: line, Field: key, Message: message, path: []any{key}})
}

// entity adds a problem of an entity.
func (e *Errors) entity(at *entry, kind kind, path []any, message string) {
	if e.index == nil {
		e.index = index{}
	}
	e.Problems = append(e.Problems, Problem{
		Line:    e.index.line(at.node, path),
		Table:   at.table.Name,
		Index:   at.index,
		Entity:  at.label(e.index),
		Field:   dotted(path),
		Message: message,
		kind:    kind,
		at:      at,
		path:    path,
	})
}

// violation adds the messages of a schema error, which is about one entity.
func (e *Errors) violation(at *entry, err *schema.Error) {
	if err.Code != schema.CodeSchemaViolation || len(err.Fields) == 0 {
		e.entity(at, ofEntity, nil, err.Message)
		return
	}
	e.messages(at, nil, err.Fields)
}

func (e *Errors) messages(at *entry, path []any, v any) {
	switch v := v.(type) {
	case string:
		e.entity(at, ofField, path, v)
	case []any:
		for i, m := range v {
			if m != nil {
				e.messages(at, append(slices.Clone(path), i), m)
			}
		}
	case schema.Object:
		for _, key := range sortedKeys(v) {
			if key == "@entity" {
				list, _ := v[key].([]any)
				for _, m := range list {
					e.entity(at, ofEntity, path, fmt.Sprint(m))
				}
				continue
			}
			e.messages(at, append(slices.Clone(path), key), v[key])
		}
	}
}

// sort puts the problems, which are complete, in the order of the text.
func (e *Errors) sort() {
	e.index = nil
	slices.SortStableFunc(e.Problems, func(a, b Problem) int {
		order := a.Line - b.Line
		if order == 0 && a.at != nil && b.at != nil {
			order = a.at.order - b.at.order
		}
		return order
	})
}

// tree is the problems as Kong nests them.
func tree(problems []Problem) schema.Object {
	var root branch
	for _, p := range problems {
		root.add(p.place(), p.Message)
	}
	fields, _ := root.render().(schema.Object)
	return fields
}

// place is the path of a problem in Kong's tree; positions count from 1.
func (p *Problem) place() []any {
	if p.kind == ofReference {
		return []any{p.Table, p.at.reference(), 0}
	}
	var path []any
	if p.at != nil {
		path = p.at.place()
	}
	for _, step := range p.path {
		if i, ok := step.(int); ok {
			step = i + 1
		}
		path = append(path, step)
	}
	if p.kind == ofEntity || len(path) == 0 {
		path = append(path, "@entity", 0)
	}
	return path
}

// branch is a part of the tree. A position 0 stands for the end of a list.
type branch struct {
	message string
	parts   map[any]*branch
	last    int // the highest position
}

func (b *branch) add(path []any, message string) {
	for _, step := range path {
		if b.parts == nil {
			b.parts = map[any]*branch{}
		}
		if i, ok := step.(int); ok {
			if i == 0 {
				i = b.last + 1
			}
			b.last = max(b.last, i)
			step = i
		}
		next := b.parts[step]
		if next == nil {
			next = &branch{}
			b.parts[step] = next
		}
		b = next
	}
	if b.message != "" {
		message = b.message + "; " + message
	}
	b.message = message
}

// maxHoles is the longest list that Kong writes with nulls for the positions
// without a message, however many they are.
const maxHoles = 1 << 15

func (b *branch) render() any {
	if len(b.parts) == 0 {
		return b.message
	}
	if b.message != "" { // about the entity, and so are its fields
		message := b.message
		b.message = ""
		b.add([]any{"@entity", 0}, message)
	}
	positions := 0
	for step := range b.parts {
		if _, ok := step.(int); ok {
			positions++
		}
	}
	if positions == len(b.parts) && (b.last <= maxHoles || b.last <= 2*positions) {
		list := make([]any, b.last)
		for i, part := range b.parts {
			list[i.(int)-1] = part.render()
		}
		return list
	}
	o := make(schema.Object, len(b.parts))
	for step, part := range b.parts {
		o[fmt.Sprint(step)] = part.render()
	}
	return o
}

// dotted writes the path of a field; positions count from 1.
func dotted(path []any) string {
	parts := make([]string, len(path))
	for i, step := range path {
		switch step := step.(type) {
		case int:
			parts[i] = strconv.Itoa(step + 1)
		case string:
			parts[i] = step
		}
	}
	return strings.Join(parts, ".")
}

// singular is a table's name for one of its entities, as Kong makes it.
func singular(table string) string { return strings.TrimSuffix(table, "s") }

// isUUID reports whether s identifies a row, as schema tables see it.
func isUUID(s string) bool {
	id, err := uuid.Parse(s)
	return err == nil && len(s) == 36 && id != uuid.Nil
}

// Interface guards
var (
	_ error        = (*Errors)(nil)
	_ fmt.Stringer = Problem{}
)
