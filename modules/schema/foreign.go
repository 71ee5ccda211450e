package schema

import (
	"maps"
	"strings"

	"github.com/google/uuid"
)

// foreign checks a reference. Only the id of the value matters; the other
// fields of the parent may stand beside it.
func (p *processor) foreign(f *Field, v any) (any, any) {
	o, ok := v.(Object)
	if !ok {
		return v, Object{"id": "missing primary key"}
	}
	id, present := o["id"]
	if !present {
		if f.parent != nil {
			for name := range o {
				if f.parent.Field(name) == nil {
					return v, Object{name: msgUnknown}
				}
			}
		}
		return v, Object{"id": "missing primary key"}
	}
	if id == nil {
		return v, Object{"id": msgRequired}
	}
	s, ok := id.(string)
	if !ok {
		return v, Object{"id": "expected a string"}
	}
	if !isUUID(s) {
		return v, Object{"id": "expected a valid UUID"}
	}
	return Object{"id": strings.ToLower(s)}, nil
}

// resolve replaces references by another unique key of the parent with
// references by id.
func (p *processor) resolve(t *Table, in Object) (Object, *Error) {
	var failed Object
	copied := false
	for i := range t.Fields.List {
		f := &t.Fields.List[i]
		if f.Kind != Foreign {
			continue
		}
		ref, ok := in[f.Name].(Object)
		if !ok {
			continue
		}
		if s, _ := ref["id"].(string); isUUID(s) {
			continue
		}
		id, errs := p.lookup(f, ref)
		switch {
		case errs != nil:
			if failed == nil {
				failed = Object{}
			}
			failed[f.Name] = errs
		case id != uuid.Nil:
			if !copied {
				in, copied = maps.Clone(in), true
			}
			in[f.Name] = Object{"id": id.String()}
		}
	}
	if failed != nil {
		return nil, foreignKeysUnresolved(failed)
	}
	return in, nil
}

// lookup finds the parent that ref describes by a unique field. It answers
// nothing at all when ref has no such field.
func (p *processor) lookup(f *Field, ref Object) (uuid.UUID, Object) {
	if f.parent == nil {
		return uuid.Nil, nil
	}
	var errs Object
	for i := range f.parent.Fields.List {
		u := &f.parent.Fields.List[i]
		if !u.Unique {
			continue
		}
		key, ok := ref[u.Name].(string)
		if !ok {
			continue
		}
		if _, err := p.value(u, key); err != nil {
			continue
		}
		if id, found := p.env.Resolve(f.Reference, u.Name, key); found {
			return id, nil
		}
		if errs == nil {
			errs = Object{}
		}
		errs[u.Name] = unresolved(u.Name, key, f.Reference)
	}
	return uuid.Nil, errs
}
