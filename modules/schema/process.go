package schema

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"maps"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Process turns what a client sent into a complete, normalised object, or
// tells what is wrong with it (code 2, or 13 for references by key that lead
// nowhere).
//
// Insert: current is nil. Upsert: current is the row that will be replaced,
// or nil; its id is kept. Update: current is the row that input is merged
// into; its id and created_at are kept.
//
// The arguments are not changed, and the result shares no list, map or record
// with them. Every field of the table is a key of the result, and nil when it
// is unset, but for transient fields that an update does not mention.
func (t *Table) Process(op Op, input, current Object, env *Env) (Object, *Error) {
	p := newProcessor(op, env)
	in, errs := t.Fields.expand(p, input)
	if errs != nil {
		return nil, Violation(errs)
	}
	if op == Update {
		in = merge(t.Fields, t.variant(current), in, current)
	}
	variant := t.variant(in)
	if p.env.Resolve != nil {
		var err *Error
		if in, err = p.resolve(t, in); err != nil {
			return nil, err
		}
	}
	if errs := t.variantErrors(in, variant); errs != nil {
		return nil, Violation(errs)
	}
	out, errs := p.record(t.Fields, variant, in)
	if errs != nil {
		return nil, p.refusal(t, errs)
	}
	if current != nil && op != Insert {
		t.keep(op, out, current)
	}
	if t.Transform != nil {
		t.Transform(out)
	}
	return out, nil
}

// Validate judges an object as Insert would, but writes nothing and asks
// nothing of other rows. Env may be nil.
func (t *Table) Validate(input Object, env *Env) *Error {
	var e Env
	if env != nil {
		e = *env
	}
	e.Resolve = nil
	_, err := t.Process(Insert, input, nil, &e)
	return err
}

// CheckKey judges the value of a unique field that stands for the id in a URL
// (code 10).
func (t *Table) CheckKey(field, value string) *Error {
	f := t.Field(field)
	if f == nil {
		return InvalidPrimaryKey()
	}
	p := newProcessor(Insert, nil)
	if _, msg := p.value(f, value); msg != nil {
		return InvalidUnique(field, fmt.Sprint(msg))
	}
	return nil
}

// Validate judges an object that is no row of a table, and answers its
// messages, or nil; see Error.Fields.
func (fs *Fields) Validate(input Object) Object {
	_, errs := newProcessor(Insert, nil).record(fs, nil, input)
	return errs
}

// keep restores what a write may not change.
func (t *Table) keep(op Op, out, current Object) {
	for i := range t.Fields.List {
		f := &t.Fields.List[i]
		switch {
		case f.Auto == AutoID, f.Auto == AutoCreate && op == Update:
			if v := current[f.Name]; v != nil {
				out[f.Name] = v
			}
		}
	}
}

// variant answers the refinement of the table for an object, or nil.
func (t *Table) variant(in Object) *Fields {
	if t.VariantKey == "" {
		return nil
	}
	key, present := in[t.VariantKey]
	if !present {
		key = t.Field(t.VariantKey).Default
	}
	switch key := key.(type) {
	case string:
		return t.Variants[key]
	case []any:
		for _, e := range key {
			if s, ok := e.(string); ok {
				if v := t.Variants[s]; v != nil {
					return v
				}
			}
		}
	}
	return nil
}

// variantErrors says that there is no variant where there must be one. Nothing
// else is said about such an object.
func (t *Table) variantErrors(in Object, variant *Fields) Object {
	if t.VariantKey == "" || variant != nil {
		return nil
	}
	key := in[t.VariantKey]
	if key == nil {
		return Object{t.VariantKey: msgRequired}
	}
	if list, ok := key.([]any); ok {
		if len(list) == 0 {
			key = "nil"
		} else {
			key = list[0]
		}
	}
	format := cmp.Or(t.VariantError, "unknown type: %s")
	return Object{t.VariantKey: fmt.Sprintf(format, fmt.Sprint(key))}
}

// A processor carries what one write needs through the fields.
type processor struct {
	op  Op
	env *Env
}

func newProcessor(op Op, env *Env) *processor {
	if env == nil || env.NewID == nil || env.Now == 0 {
		var e Env
		if env != nil {
			e = *env
		}
		if e.NewID == nil {
			e.NewID = uuid.New
		}
		if e.Now == 0 {
			e.Now = float64(time.Now().UnixMilli()) / 1000
		}
		env = &e
	}
	return &processor{op: op, env: env}
}

// record processes every field of a record, in order, and then the checks
// between them. over refines fields and may be nil.
func (p *processor) record(fields, over *Fields, in Object) (Object, Object) {
	out := make(Object, len(fields.List))
	var errs Object
	known := 0
	for i := range fields.List {
		f := &fields.List[i]
		if g := over.Field(f.Name); g != nil {
			f = g
		}
		v, present := in[f.Name]
		if present {
			known++
		} else if f.Transient && p.op == Update {
			continue
		}
		w, err := p.field(f, v, present)
		out[f.Name] = w
		if err != nil {
			if errs == nil {
				errs = Object{}
			}
			errs[f.Name] = err
		}
	}
	if known < len(in) {
		for name := range in {
			if fields.Field(name) == nil {
				if errs == nil {
					errs = Object{}
				}
				errs[name] = msgUnknown
			}
		}
	}
	for _, fs := range []*Fields{fields, over} {
		if fs == nil {
			continue
		}
		for i := range fs.Checks {
			errs = fs.Checks[i].run(p, fields, over, out, errs)
		}
	}
	return out, errs
}

// field fills what is absent and checks what is there.
func (p *processor) field(f *Field, v any, present bool) (any, any) {
	if f.Auto != NotAuto {
		if w, ok := p.auto(f, v); ok {
			return w, nil
		}
	}
	if !present {
		switch {
		case f.Default != nil:
			if f.Kind != Record {
				return clone(f.Default), nil
			}
			v = f.Default
		case !f.Required:
			return nil, nil
		case f.Kind == Record:
			v = Object{}
		}
	}
	if f.Lifetime {
		return p.moment(f, v)
	}
	return p.value(f, v)
}

// auto answers the value that the gateway gives the field by itself.
func (p *processor) auto(f *Field, v any) (any, bool) {
	switch {
	case f.Auto == AutoUpdate, f.Auto == AutoCreate && v == nil:
		if f.Kind == Integer {
			return int64(p.env.Now), true
		}
		return math.Round(p.env.Now*1000) / 1000, true
	case f.Auto == AutoID && v == nil:
		return p.env.NewID().String(), true
	case f.Auto == AutoString && v == nil:
		return randomString(), true
	}
	return nil, false
}

// merge lays the fields of top over those of bottom. Records merge field by
// field; everything else is replaced.
func merge(fields, over *Fields, top, bottom Object) Object {
	out := make(Object, len(bottom)+1)
	for i := range fields.List { // an object that lost a field must not fail for it
		f := &fields.List[i]
		if v, ok := bottom[f.Name]; ok && !f.Transient {
			out[f.Name] = v
		}
	}
	for name, v := range top {
		f := over.Field(name)
		if f == nil {
			f = fields.Field(name)
		}
		if f != nil && f.Kind == Record && f.Fields != nil {
			a, isA := v.(Object)
			b, isB := bottom[name].(Object)
			if isA && isB {
				out[name] = merge(f.Fields, nil, a, b)
				continue
			}
		}
		out[name] = v
	}
	return out
}

// expand replaces the shorthands of an input by the fields they stand for.
func (fs *Fields) expand(p *processor, in Object) (Object, Object) {
	var errs Object
	copied := false
	for i := range fs.Shorthands {
		sh := &fs.Shorthands[i]
		v, present := in[sh.Field.Name]
		if !present {
			continue
		}
		if _, err := p.value(&sh.Field, v); err != nil {
			if errs == nil {
				errs = Object{}
			}
			errs[sh.Field.Name] = err
			continue
		}
		if !copied {
			in, copied = maps.Clone(in), true
		}
		delete(in, sh.Field.Name)
		if sh.Replaced != "" {
			if msg := sh.replace(in, v); msg != "" {
				if errs == nil {
					errs = Object{}
				}
				errs[sh.Field.Name] = msg
			}
			continue
		}
		for name, w := range sh.Expand(v) {
			in[name] = w
		}
	}
	return in, errs
}

// replace writes the value of a deprecated field where it belongs: into records
// that are copied, unless the input has a value there.
func (sh *Shorthand) replace(in Object, v any) string {
	if now := lookupPath(in, sh.Replaced); now != nil {
		if v == nil || reflect.DeepEqual(canonical(now), canonical(v)) {
			return ""
		}
		if sh.Field.Encrypted {
			v, now = "…", "…"
		}
		return fmt.Sprintf("both deprecated and new field are used but their values mismatch: %s = %v vs %s = %v",
			sh.Field.Name, v, sh.Replaced, now)
	}
	for path := sh.Replaced; ; {
		head, rest, nested := strings.Cut(path, ".")
		if !nested {
			in[head] = v
			return ""
		}
		if in[head] != nil {
			if _, is := in[head].(Object); !is {
				return "" // the field's own check says what it should be
			}
		}
		record, _ := in[head].(Object)
		if record = maps.Clone(record); record == nil {
			record = Object{}
		}
		in[head] = record
		in, path = record, rest
	}
}

func randomString() string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	var buf [32]byte
	for i := 0; i < len(buf); {
		var random [64]byte
		_, _ = rand.Read(random[:]) // never fails
		for _, b := range random {
			if int(b) < 4*len(letters) && i < len(buf) { // every letter equally likely
				buf[i] = letters[int(b)%len(letters)]
				i++
			}
		}
	}
	return string(buf[:])
}

// clone copies a default.
func clone(v any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = clone(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = clone(e)
		}
		return out
	}
	return v
}
