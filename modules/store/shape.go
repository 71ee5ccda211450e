package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// A layout is what images have to know of a catalog. All images that descend
// from one NewImage share it.
type layout struct {
	catalog *entity.Catalog
	shapes  []*shape // in the catalog's order: parents first
	byName  map[string]*shape
}

// A shape says which indexes a table has and reads their keys from a row.
type shape struct {
	*schema.Table
	position   int      // in layout.shapes
	lifetime   int      // the index of rows that will be gone; -1: all stay
	fields     []string // the top-level fields that any index reads
	indexes    []index
	references []schema.Reference
	children   []entity.Child // the foreign fields that point here
}

// An index finds rows by what is in them.
type index struct {
	kind  indexKind
	parts []int // positions in shape.fields
}

type indexKind int

const (
	unique    indexKind = iota // one field that no two rows share; null is not indexed
	composite                  // several fields that no two rows share; null counts
	children                   // a foreign field
	tags                       // each element of a set
	lifetime                   // when the row is gone, of those that will be
)

func newLayout(c *entity.Catalog) *layout {
	l := &layout{catalog: c, byName: make(map[string]*shape)}
	for _, t := range c.Tables() {
		s := newShape(t)
		s.position = len(l.shapes)
		s.children = c.Children(t.Name)
		l.shapes = append(l.shapes, s)
		l.byName[t.Name] = s
	}
	return l
}

func newShape(t *schema.Table) *shape {
	s := &shape{Table: t, references: t.References(), lifetime: -1}
	uniques := t.Uniques()
	for _, name := range uniques {
		s.add(unique, name)
	}
	if key := t.CacheKey; len(key) > 1 || len(key) == 1 && !slices.Contains(uniques, key[0]) {
		s.add(composite, key...)
	}
	for _, r := range s.references {
		s.add(children, r.Field)
	}
	if t.Field("tags") != nil {
		s.add(tags, "tags")
	}
	if f := t.Lifetime(); f != nil {
		s.lifetime = len(s.indexes)
		s.add(lifetime, f.Name)
	}
	return s
}

func (s *shape) add(kind indexKind, fields ...string) {
	ix := index{kind: kind}
	for _, f := range fields {
		at := slices.Index(s.fields, f)
		if at < 0 {
			at = len(s.fields)
			s.fields = append(s.fields, f)
		}
		ix.parts = append(ix.parts, at)
	}
	s.indexes = append(s.indexes, ix)
}

// index returns the position of the index of a kind over one field, -1 if
// there is none.
func (s *shape) index(kind indexKind, field string) int {
	return slices.IndexFunc(s.indexes, func(ix index) bool {
		return ix.kind == kind && (field == "" || s.fields[ix.parts[0]] == field)
	})
}

// A key is the place of a row in one of its table's indexes.
type key struct {
	index int // in shape.indexes
	text  string
}

// keys appends to ks the keys of a row, whose bytes they may share. It fails
// if the row is not one well-formed JSON object or if an indexed field is of
// the wrong kind.
func (s *shape) keys(r *Row, ks []key) ([]key, error) {
	var room [12][]byte
	values := append(room[:0], make([][]byte, len(s.fields))...)
	var id []byte
	err := members(r.Data, func(k, v []byte) {
		if string(k) == "id" {
			id = v
		} else if at := indexOf(s.fields, k); at >= 0 && string(v) != "null" {
			values[at] = v
		}
	})
	if err != nil {
		return ks, err
	}
	if text, err := scalar(id); err != nil || text != r.ID.String() {
		return ks, fmt.Errorf("its data is that of a row with the id %s", cmp.Or(string(id), "null"))
	}
	for i, ix := range s.indexes {
		v := values[ix.parts[0]]
		switch {
		case ix.kind == composite:
			var b strings.Builder
			for _, at := range ix.parts {
				text, err := scalar(values[at])
				if err != nil {
					return ks, fmt.Errorf("%s: %w", s.fields[at], err)
				}
				part(&b, text, values[at] == nil)
			}
			ks = append(ks, key{i, b.String()})
		case v == nil:
		case ix.kind == tags:
			if ks, err = elements(ks, i, v); err != nil {
				return ks, fmt.Errorf("%s: %w", s.fields[ix.parts[0]], err)
			}
		default:
			text, err := scalar(v)
			if err == nil && ix.kind == lifetime {
				text, err = r.mortal(text)
			}
			if err != nil {
				return ks, fmt.Errorf("%s: %w", s.fields[ix.parts[0]], err)
			}
			ks = append(ks, key{i, text})
		}
	}
	return ks, nil
}

// compositeKey is the key of the composite index for a processed object.
func (s *shape) compositeKey(ix index, o schema.Object) string {
	var b strings.Builder
	for _, at := range ix.parts {
		v := o[s.fields[at]]
		part(&b, schema.KeyText(v), v == nil)
	}
	return b.String()
}

// part writes one part of a composite key, so that no two lists of parts are
// written alike.
func part(b *strings.Builder, text string, null bool) {
	if null {
		b.WriteByte('-')
		return
	}
	b.WriteString(strconv.Itoa(len(text)))
	b.WriteByte(':')
	b.WriteString(text)
}

// indexOf is slices.Index for a name that is still bytes.
func indexOf(fields []string, name []byte) int {
	for i, f := range fields {
		if f == string(name) {
			return i
		}
	}
	return -1
}

var errKind = errors.New("a value of the wrong kind")

// scalar returns the key of a well-formed JSON value: the content of a string,
// the id of a foreign key, a number or a boolean as it is spelled.
func scalar(v []byte) (string, error) {
	if len(v) == 0 {
		return "", nil
	}
	switch v[0] {
	case '"':
		return unquote(v)
	case '{':
		var id []byte
		err := members(v, func(k, v []byte) {
			if string(k) == "id" {
				id = v
			}
		})
		if err != nil || len(id) == 0 || id[0] != '"' {
			return "", errKind
		}
		u, err := uuid.ParseBytes(id[1 : len(id)-1])
		if err != nil {
			return "", err
		}
		if text := u.String(); text != string(id[1:len(id)-1]) {
			return text, nil
		}
		return share(id[1 : len(id)-1]), nil
	case '[':
		return "", errKind
	}
	return share(v), nil
}

// elements appends a key for each string of an array.
func elements(ks []key, index int, v []byte) ([]key, error) {
	if v[0] != '[' {
		return ks, errKind
	}
	var bad error
	s := scanner{data: v}
	err := s.array(1, func(v []byte) {
		text, err := unquote(v)
		if err != nil {
			bad = err
			return
		}
		ks = append(ks, key{index, text})
	})
	return ks, errors.Join(err, bad)
}

// unquote returns the content of a well-formed JSON string.
func unquote(v []byte) (string, error) {
	if v[0] != '"' {
		return "", errKind
	}
	inner := v[1 : len(v)-1]
	if !slices.Contains(inner, '\\') {
		return share(inner), nil
	}
	var text string
	err := json.Unmarshal(v, &text)
	return text, err
}

// share returns bytes of a row as a string without copying them: rows are
// immutable, and an index would otherwise hold every name a second time.
func share(b []byte) string {
	return unsafe.String(unsafe.SliceData(b), len(b))
}
