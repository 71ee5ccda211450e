package schema

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"
)

// Marshal writes a processed object for clients: every field in table order,
// null when it is unset or sealed.
func (t *Table) Marshal(o Object) []byte { return t.AppendJSON(make([]byte, 0, 1024), o) }

// AppendJSON appends what Marshal writes.
func (t *Table) AppendJSON(b []byte, o Object) []byte {
	w := writer{nulls: true}
	return w.record(b, t.Fields, t.variant(o), o)
}

// Export writes what Marshal does, and sealed fields and lifetimes as they are
// stored.
func (t *Table) Export(o Object) []byte {
	w := writer{nulls: true, sealed: true, moments: true}
	return w.record(make([]byte, 0, 1024), t.Fields, t.variant(o), o)
}

// Seal answers the object with its sealed fields as they are to be stored; was
// answers what is stored now. It does not change o.
func (t *Table) Seal(o Object, was func(field string) any) Object {
	copied := false
	for i := range t.Fields.List {
		f := &t.Fields.List[i]
		value, ok := o[f.Name].(string)
		if f.Seal == nil || !ok {
			continue
		}
		before, _ := was(f.Name).(string)
		if !copied {
			o, copied = maps.Clone(o), true
		}
		o[f.Name] = f.Seal(value, before)
	}
	return o
}

// Pack writes a processed object for stores: as Marshal, without unset and
// transient fields.
func (t *Table) Pack(o Object) []byte {
	scratch := packing.Get().(*[]byte)
	defer packing.Put(scratch)
	w := writer{sealed: true, moments: true}
	*scratch = w.record((*scratch)[:0], t.Fields, t.variant(o), o)
	return slices.Clone(*scratch)
}

var packing = sync.Pool{New: func() any { return new([]byte) }}

// A writer appends JSON by the fields, so that neither reflection nor sorting
// is needed where the shape is known.
type writer struct {
	nulls   bool // write unset and transient fields
	sealed  bool // write sealed fields
	moments bool // write when rows are gone, and not what is left
}

func (w *writer) record(b []byte, fields, over *Fields, o Object) []byte {
	b = append(b, '{')
	first := true
	for i := range fields.List {
		f := &fields.List[i]
		v := o[f.Name]
		if !w.nulls && (v == nil || f.Transient) {
			continue
		}
		if f.Seal != nil && !w.sealed {
			v = nil
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = append(b, '"')
		b = append(b, f.Name...)
		b = append(b, '"', ':')
		if g := over.Field(f.Name); g != nil {
			f = g
		}
		b = w.value(b, f, v)
	}
	return append(b, '}')
}

func (w *writer) value(b []byte, f *Field, v any) []byte {
	switch v := v.(type) {
	case string:
		return AppendString(b, v)
	case Moment:
		return w.moment(b, v)
	case []any:
		if (f.Kind == Array || f.Kind == Set) && f.Elem != nil {
			b = append(b, '[')
			for i, e := range v {
				if i > 0 {
					b = append(b, ',')
				}
				b = w.value(b, f.Elem, e)
			}
			return append(b, ']')
		}
	case map[string]any:
		switch {
		case f.Kind == Record && f.Fields != nil:
			return w.record(b, f.Fields, nil, v)
		case f.Kind == Map && f.Elem != nil:
			return appendMap(b, v, func(b []byte, e any) []byte { return w.value(b, f.Elem, e) })
		}
	}
	return appendAny(b, v)
}

func appendMap(b []byte, m map[string]any, value func([]byte, any) []byte) []byte {
	b = append(b, '{')
	for i, k := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = AppendString(b, k)
		b = append(b, ':')
		b = value(b, m[k])
	}
	return append(b, '}')
}

// appendAny writes a value about whose shape nothing is known.
func appendAny(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v)
	case string:
		return AppendString(b, v)
	case []any:
		b = append(b, '[')
		for i, e := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendAny(b, e)
		}
		return append(b, ']')
	case map[string]any:
		return appendMap(b, v, appendAny)
	}
	panic(fmt.Sprintf("schema: %T is not a value of a processed object", v))
}

// appendFloat writes whole numbers without a fraction, as Kong does.
func appendFloat(b []byte, x float64) []byte {
	format := byte('f')
	if a := math.Abs(x); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	return strconv.AppendFloat(b, x, format, -1, 64)
}

// AppendString writes a JSON string. What is not UTF-8 becomes U+FFFD.
func AppendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c >= ' ' && c != '"' && c != '\\' {
				i++
				continue
			}
			b = append(b, s[start:i]...)
			switch c {
			case '"', '\\':
				b = append(b, '\\', c)
			case '\n':
				b = append(b, '\\', 'n')
			case '\r':
				b = append(b, '\\', 'r')
			case '\t':
				b = append(b, '\\', 't')
			default:
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			b = append(b, s[start:i]...)
			b = append(b, "\uFFFD"...)
			i++
			start = i
			continue
		}
		i += size
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// validUTF8 is utf8.ValidString with a short way for plain ASCII.
func validUTF8(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return utf8.ValidString(s)
		}
	}
	return true
}
