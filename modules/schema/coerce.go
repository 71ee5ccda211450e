package schema

import (
	"strconv"
	"strings"
)

// Coerce gives the values of a decoded form, which are all strings, the types
// that the fields want: "true" and "80" become a boolean and a number, "" is
// null, and one value of an array or set becomes a list of one. What does not
// fit is left for Process to refuse.
func (t *Table) Coerce(form Object) Object {
	return coerceRecord(t.Fields, t.variant(coerceKey(t, form)), form)
}

// coerceKey makes a form's variant readable: "http" of a set is ["http"].
func coerceKey(t *Table, form Object) Object {
	if t.VariantKey == "" || form[t.VariantKey] == nil {
		return form
	}
	return Object{t.VariantKey: coerce(t.Field(t.VariantKey), form[t.VariantKey])}
}

func coerceRecord(fields, over *Fields, in Object) Object {
	out := make(Object, len(in))
	for name, v := range in {
		f := over.Field(name)
		if f == nil {
			f = fields.Field(name)
		}
		if f == nil {
			f = fields.shorthand(name)
		}
		out[name] = coerce(f, v)
	}
	return out
}

func (fs *Fields) shorthand(name string) *Field {
	for i := range fs.Shorthands {
		if fs.Shorthands[i].Field.Name == name {
			return &fs.Shorthands[i].Field
		}
	}
	return nil
}

func coerce(f *Field, v any) any {
	if v == "" {
		return nil
	}
	if f == nil {
		return v
	}
	switch f.Kind {
	case Boolean:
		switch v {
		case "true":
			return true
		case "false":
			return false
		}
	case Integer, Number:
		if s, ok := v.(string); ok {
			if x, err := strconv.ParseFloat(strings.TrimSpace(s), 64); err == nil && strings.Trim(s, " +-.0123456789eE") == "" {
				return x
			}
		}
	case Array, Set:
		switch v := v.(type) {
		case nil:
			return nil
		case []any:
			out := make([]any, len(v))
			for i, e := range v {
				out[i] = coerce(f.Elem, e)
			}
			return out
		case map[string]any:
			if f.Elem.Kind != Record && f.Elem.Kind != Map {
				return v
			}
			return []any{coerce(f.Elem, v)}
		default:
			return []any{coerce(f.Elem, v)}
		}
	case Map:
		if m, ok := v.(map[string]any); ok {
			out := make(map[string]any, len(m))
			for k, e := range m {
				out[k] = coerce(f.Elem, e)
			}
			return out
		}
	case Record:
		if o, ok := v.(map[string]any); ok && f.Fields != nil {
			return coerceRecord(f.Fields, nil, o)
		}
	case Foreign:
		if o, ok := v.(map[string]any); ok && f.parent != nil {
			return coerceRecord(f.parent.Fields, nil, o)
		}
	}
	return v
}
