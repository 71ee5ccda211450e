package schema

import "fmt"

// Unpack reads what Pack wrote. The object is normalised: every field of the
// table is a key, and nil when it is unset. A required field that the row
// lacks, because it was added to the table later, gets its default. Fields
// that the table no longer has are dropped.
func (t *Table) Unpack(b []byte) (Object, error) {
	r := reader{text: string(b)} // one copy, of which the object's strings are parts
	o, err := r.table(t)
	if err == nil {
		r.space()
		if r.at < len(r.text) {
			err = r.unexpected("the end")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: reading a row: %w", t.Name, err)
	}
	return o, nil
}

// table reads an object whose shape may depend on one of its fields. Rows are
// written in table order, so that field has been read, in most tables, before
// those that depend on it; if not, the row is read again.
func (r *reader) table(t *Table) (Object, error) {
	if t.VariantKey == "" {
		return r.record(t.Fields, nil)
	}
	start := r.at
	key, err := r.member(t.VariantKey)
	if err != nil {
		return nil, err
	}
	r.at = start
	return r.record(t.Fields, t.variant(Object{t.VariantKey: key}))
}

// member reads one member of an object, and is nil if there is none.
func (r *reader) member(name string) (any, error) {
	var found any
	err := r.object(func(key string) error {
		if key != name {
			return r.skip()
		}
		v, err := r.any()
		found = v
		return err
	})
	return found, err
}

func (r *reader) record(fields, over *Fields) (Object, error) {
	out := make(Object, len(fields.List))
	next := 0 // the field that is expected, since records are written in order
	err := r.object(func(key string) error {
		for n := range fields.List {
			i := next + n
			if i >= len(fields.List) {
				i -= len(fields.List)
			}
			f := &fields.List[i]
			if f.Name != key {
				continue
			}
			next = i + 1
			if g := over.Field(key); g != nil {
				f = g
			}
			v, err := r.value(f)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			out[f.Name] = v
			return nil
		}
		return r.skip()
	})
	if err != nil {
		return nil, err
	}
	for i := range fields.List {
		f := &fields.List[i]
		if out[f.Name] == nil {
			out[f.Name] = fields.missing(f, over)
		}
	}
	return out, nil
}

// missing is the value of a field that a row lacks.
func (fs *Fields) missing(f *Field, over *Fields) any {
	if g := over.Field(f.Name); g != nil {
		f = g
	}
	switch {
	case !f.Required || f.Auto != NotAuto:
		return nil
	case f.Default != nil:
		return clone(f.Default)
	case f.Kind == Record && f.Fields != nil:
		o := make(Object, len(f.Fields.List))
		for i := range f.Fields.List {
			sub := &f.Fields.List[i]
			o[sub.Name] = f.Fields.missing(sub, nil)
		}
		return o
	}
	return nil
}

// value reads a value of the field's kind, or null.
func (r *reader) value(f *Field) (any, error) {
	r.space()
	if r.peek() == 'n' {
		return nil, r.word("null")
	}
	switch f.Kind {
	case String:
		if r.peek() != '"' {
			return nil, r.unexpected("a string")
		}
		return r.string()
	case Boolean:
		switch r.peek() {
		case 't':
			return true, r.word("true")
		case 'f':
			return false, r.word("false")
		}
		return nil, r.unexpected("a boolean")
	case Integer:
		v, err := r.number()
		if n, ok := integer(v); ok && err == nil {
			if f.Lifetime {
				return Moment(n), nil
			}
			return n, nil
		}
		return nil, r.unexpected("an integer")
	case Number:
		v, err := r.number()
		if n, ok := number(v); ok && err == nil {
			return n, nil
		}
		return nil, r.unexpected("a number")
	case Array, Set:
		out := []any{}
		err := r.list(func() error {
			v, err := r.value(f.Elem)
			out = append(out, v)
			return err
		})
		return out, err
	case Map:
		out := make(map[string]any)
		err := r.object(func(key string) error {
			v, err := r.value(f.Elem)
			out[key] = v
			return err
		})
		return out, err
	case Record, Foreign:
		if f.Fields != nil {
			return r.record(f.Fields, nil)
		}
		if r.peek() != '{' {
			return nil, r.unexpected("an object")
		}
	}
	return r.any()
}

// any reads a value about whose shape nothing is known.
func (r *reader) any() (any, error) {
	r.space()
	switch r.peek() {
	case 'n':
		return nil, r.word("null")
	case 't':
		return true, r.word("true")
	case 'f':
		return false, r.word("false")
	case '"':
		return r.string()
	case '{':
		out := make(map[string]any)
		err := r.object(func(key string) error {
			v, err := r.any()
			out[key] = v
			return err
		})
		return out, err
	case '[':
		out := []any{}
		err := r.list(func() error {
			v, err := r.any()
			out = append(out, v)
			return err
		})
		return out, err
	}
	return r.number()
}

func (r *reader) skip() error {
	_, err := r.any()
	return err
}
