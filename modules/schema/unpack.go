package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Unpack reads what Pack wrote. The object is normalised: every field of the
// table is a key, and nil when it is unset. A required field that the row
// lacks, because it was added to the table later, gets its default. Fields
// that the table no longer has are dropped.
func (t *Table) Unpack(b []byte) (Object, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var o Object
	if err := d.Decode(&o); err != nil {
		return nil, fmt.Errorf("%s: reading a row: %w", t.Name, err)
	}
	out, err := unpackRecord(t.Fields, t.variant(o), o)
	if err != nil {
		return nil, fmt.Errorf("%s: reading a row: %w", t.Name, err)
	}
	return out, nil
}

func unpackRecord(fields, over *Fields, in Object) (Object, error) {
	out := make(Object, len(fields.List))
	for i := range fields.List {
		f := &fields.List[i]
		if g := over.Field(f.Name); g != nil {
			f = g
		}
		v := in[f.Name]
		if v == nil && f.Required && f.Auto == NotAuto {
			v = clone(f.Default)
			if v == nil && f.Kind == Record {
				v = Object{}
			}
		}
		w, err := unpackValue(f, v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name, err)
		}
		out[f.Name] = w
	}
	return out, nil
}

func unpackValue(f *Field, v any) (any, error) {
	ok := true
	switch f.Kind {
	case String:
		_, ok = v.(string)
	case Boolean:
		_, ok = v.(bool)
	case Integer:
		if v != nil {
			v, ok = integer(v)
		}
	case Number:
		if v != nil {
			v, ok = number(v)
		}
	case Array, Set:
		list, is := v.([]any)
		if ok = is; ok {
			for i, e := range list {
				w, err := unpackValue(f.Elem, e)
				if err != nil {
					return nil, fmt.Errorf("[%d]: %w", i, err)
				}
				list[i] = w
			}
		}
	case Map:
		m, is := v.(Object)
		if ok = is; ok {
			for k, e := range m {
				w, err := unpackValue(f.Elem, e)
				if err != nil {
					return nil, fmt.Errorf("%q: %w", k, err)
				}
				m[k] = w
			}
		}
	case Record:
		o, is := v.(Object)
		if ok = is; ok {
			if f.Fields == nil {
				return canonical(o), nil
			}
			return unpackRecord(f.Fields, nil, o)
		}
	case Foreign:
		_, ok = v.(Object)
	case JSON:
		return canonical(v), nil
	}
	if v == nil {
		return nil, nil
	}
	if !ok {
		return nil, fmt.Errorf("expected %s, found %T", article(f.Kind), v)
	}
	return v, nil
}
