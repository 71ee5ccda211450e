package schema

import (
	"cmp"
	"slices"
	"strings"
)

// A Check is a relation between the fields of one record. The constructors
// carry Kong's names for them. Field names may be paths such as "redis.host".
type Check struct {
	Word string // as in /schemas
	Arg  any    // as in /schemas

	names    []string // the fields that the check reads
	tolerant bool     // it also runs when one of them has an error
	test     func(c *checking) string
}

// checking is a record under judgement.
type checking struct {
	p      *processor
	fields *Fields
	over   *Fields
	out    Object
	errs   Object // messages found so far; a check may add to them
}

// run adds what the check has to say to errs, and answers errs.
func (c *Check) run(p *processor, fields, over *Fields, out, errs Object) Object {
	r := checking{p, fields, over, out, errs}
	for _, name := range c.names {
		if !c.tolerant && errs[name] != nil {
			return errs
		}
		if s, ok := out[name].(string); ok && IsReference(s) {
			if f := r.field(name); f != nil && f.Referenceable {
				return errs
			}
		}
	}
	msg := c.test(&r)
	if msg == "" {
		return r.errs
	}
	if r.errs == nil {
		r.errs = Object{}
	}
	list, _ := r.errs["@entity"].([]any)
	r.errs["@entity"] = append(list, msg)
	return r.errs
}

func (r *checking) field(path string) *Field {
	head, rest, nested := strings.Cut(path, ".")
	f := r.over.Field(head)
	if f == nil {
		f = r.fields.Field(head)
	}
	for nested && f != nil {
		head, rest, nested = strings.Cut(rest, ".")
		f = f.Fields.Field(head)
	}
	return f
}

func (r *checking) get(path string) any { return lookupPath(r.out, path) }

func lookupPath(o Object, path string) any {
	for {
		head, rest, nested := strings.Cut(path, ".")
		v := o[head]
		if !nested {
			return v
		}
		o, _ = v.(Object)
		path = rest
	}
}

func (r *checking) setError(path string, msg any) {
	if r.errs == nil {
		r.errs = Object{}
	}
	o := r.errs
	for {
		head, rest, nested := strings.Cut(path, ".")
		if !nested {
			o[head] = msg
			return
		}
		sub, ok := o[head].(Object)
		if !ok {
			sub = Object{}
			o[head] = sub
		}
		o, path = sub, rest
	}
}

func (r *checking) nonEmpty(names []string) int {
	n := 0
	for _, name := range names {
		if filled(r.get(name)) {
			n++
		}
	}
	return n
}

// filled tells whether a value is set and not empty.
func filled(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		for _, e := range v {
			if e != nil {
				return true
			}
		}
		return false
	}
	return true
}

// AtLeastOneOf wants one of the fields to be set.
func AtLeastOneOf(names ...string) Check {
	return Check{"at_least_one_of", Values(names...), names, true, func(r *checking) string {
		if r.nonEmpty(names) > 0 {
			return ""
		}
		return r.updating() + "at least one of these fields must be non-empty: " + quoted(names)
	}}
}

// updating is what Kong puts before some messages when a row is updated.
func (r *checking) updating() string {
	if r.p.op == Update {
		return "when updating, "
	}
	return ""
}

// OnlyOneOf wants exactly one of the fields to be set.
func OnlyOneOf(names ...string) Check {
	return Check{"only_one_of", Values(names...), names, true, func(r *checking) string {
		if r.nonEmpty(names) == 1 {
			return ""
		}
		return "exactly one of these fields must be non-empty: " + quoted(names)
	}}
}

// Distinct wants the fields that are set to differ.
func Distinct(names ...string) Check {
	return Check{"distinct", Values(names...), names, true, func(r *checking) string {
		seen := make(map[any]bool, len(names))
		for _, name := range names {
			v := r.get(name)
			if !filled(v) || !scalar(v) {
				continue
			}
			if seen[v] {
				return "values of these fields must be distinct: " + quoted(names)
			}
			seen[v] = true
		}
		return ""
	}}
}

// MutuallyRequired wants all of the fields to be set, or none.
func MutuallyRequired(names ...string) Check {
	return Check{"mutually_required", Values(names...), names, false, func(r *checking) string {
		if n := r.nonEmpty(names); n == 0 || n == len(names) {
			return ""
		}
		return "all or none of these fields must be set: " + quoted(names)
	}}
}

// MutuallyExclusive wants at most one of the fields to be set.
func MutuallyExclusive(names ...string) Check {
	return Check{"mutually_exclusive", Values(names...), names, false, func(r *checking) string {
		if r.nonEmpty(names) <= 1 {
			return ""
		}
		return "only one or none of these fields must be set: " + quoted(names)
	}}
}

// When is the argument of Conditional: if the value of field If passes the
// checks of Match, that of field Then must pass those of Must. Both refine the
// fields that they are about: what they leave out is as over there.
type When struct {
	If    string
	Match Field
	Then  string
	Must  Field
	Err   string // replaces the message about the entity as a whole

	// Also lists fields any of which, when it is set, stands for Then.
	Also []string
}

// Conditional wants one field to fit another. The message about the field and
// one about the entity as a whole go together.
func Conditional(w When) Check {
	arg := Object{
		"if_field": w.If, "if_match": w.Match.Describe(),
		"then_field": w.Then, "then_match": w.Must.Describe(),
	}
	if w.Err != "" {
		arg["then_err"] = w.Err
	}
	return Check{"conditional", arg, []string{w.If, w.Then}, true, func(r *checking) string {
		if !r.passes(w.If, &w.Match) || r.nonEmpty(w.Also) > 0 {
			return ""
		}
		must := refine(r.field(w.Then), &w.Must)
		_, err := r.p.value(&must, r.get(w.Then))
		if err == nil {
			return ""
		}
		r.setError(w.Then, err)
		return cmp.Or(w.Err, "failed conditional validation given value of field '"+w.If+"'")
	}}
}

// passes tells whether the value of a field passes its own checks as refined.
func (r *checking) passes(name string, with *Field) bool {
	v := r.get(name)
	if v == nil && slices.ContainsFunc(with.Rules, func(rule Rule) bool { return rule.Word == "eq" }) {
		return false // other rules have nothing to say about null
	}
	f := refine(r.field(name), with)
	_, err := r.p.value(&f, v)
	return err == nil
}

// OneOfWhen is the argument of ConditionalAtLeastOneOf: if the value of field
// If passes the checks of Match, one of Then must be set; else, if it passes
// those of ElseMatch, one of ElseThen. %s in the messages stands for the
// quoted names.
type OneOfWhen struct {
	If        string
	Match     Field
	Then      []string
	Err       string
	ElseMatch *Field
	ElseThen  []string
	ElseErr   string

	// Also lists fields that satisfy either branch without being named in its
	// message.
	Also []string
}

// ConditionalAtLeastOneOf wants one of several fields, depending on another.
func ConditionalAtLeastOneOf(w OneOfWhen) Check {
	arg := Object{
		"if_field": w.If, "if_match": w.Match.Describe(),
		"then_at_least_one_of": Values(w.Then...),
	}
	if w.Err != "" {
		arg["then_err"] = w.Err
	}
	if w.ElseMatch != nil {
		arg["else_match"] = w.ElseMatch.Describe()
		arg["else_then_at_least_one_of"] = Values(w.ElseThen...)
		if w.ElseErr != "" {
			arg["else_then_err"] = w.ElseErr
		}
	}
	return Check{"conditional_at_least_one_of", arg, nil, true, func(r *checking) string {
		names, format := w.Then, w.Err
		if !r.passes(w.If, &w.Match) {
			if w.ElseMatch == nil || !r.passes(w.If, w.ElseMatch) {
				return ""
			}
			names, format = w.ElseThen, w.ElseErr
		}
		if r.nonEmpty(names) > 0 || r.nonEmpty(w.Also) > 0 {
			return ""
		}
		if format == "" {
			format = r.updating() + "at least one of these fields must be non-empty: %s"
		}
		return strings.Replace(format, "%s", quoted(names), 1)
	}}
}

// CustomCheck runs a test on the whole record unless one of the named fields
// has an error. The test answers a message, or "".
func CustomCheck(test func(o Object) string, names ...string) Check {
	arg := Object{"field_sources": Values(names...)}
	return Check{"custom_entity_check", arg, names, false, func(r *checking) string {
		return test(r.out)
	}}
}

// refine lays the checks that with states over those of base.
func refine(base, with *Field) Field {
	if base == nil {
		return *with
	}
	f := *base
	f.Required = with.Required || base.Required
	f.Null = with.Null || base.Null
	if with.OneOf != nil {
		f.OneOf = with.OneOf
	}
	if with.NotOneOf != nil {
		f.NotOneOf = with.NotOneOf
	}
	if with.NotEqual != nil {
		f.NotEqual = with.NotEqual
	}
	if with.Between != nil {
		f.Between = with.Between
	}
	if with.LenEq != nil {
		f.LenEq = with.LenEq
	}
	if with.LenMin != nil {
		f.LenMin = with.LenMin
	}
	if with.LenMax != nil {
		f.LenMax = with.LenMax
	}
	if with.Rules != nil {
		f.Rules = append(append([]Rule(nil), f.Rules...), with.Rules...)
	}
	if with.Elem != nil {
		f.Elem = with.Elem
	}
	if with.Err != "" {
		f.Err = with.Err
	}
	return f
}
