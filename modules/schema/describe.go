package schema

import "slices"

// Describe answers the table as GET /schemas/:entity shows it, which is what
// go-kong and decK read: the fields in order, each an object with one key, and
// the checks between fields.
func (t *Table) Describe() Object { return t.Fields.Describe() }

// Describe answers the record as /schemas shows it.
func (fs *Fields) Describe() Object {
	checks := make([]any, len(fs.Checks))
	for i := range fs.Checks {
		checks[i] = Object{fs.Checks[i].Word: fs.Checks[i].Arg}
	}
	return Object{"fields": fs.describeList(), "entity_checks": checks}
}

func (fs *Fields) describeList() []any {
	out := make([]any, len(fs.List))
	for i := range fs.List {
		out[i] = Object{fs.List[i].Name: fs.List[i].Describe()}
	}
	return out
}

// Describe answers the field as /schemas shows it, with Kong's words.
func (f *Field) Describe() Object {
	o := Object{}
	set := func(word string, v any, present bool) {
		if present {
			o[word] = v
		}
	}
	set("type", string(f.Kind), f.Kind != "")
	set("description", f.Doc, f.Doc != "")
	set("required", true, f.Required)
	set("default", f.Default, f.Default != nil)
	set("unique", true, f.Unique)
	set("auto", true, f.Auto != NotAuto)
	set("eq", nil, f.Null)
	set("ne", f.NotEqual, f.NotEqual != nil)
	set("not_one_of", f.NotOneOf, f.NotOneOf != nil)
	set("one_of", f.OneOf, f.OneOf != nil)
	set("timestamp", true, f.Timestamp)
	set("uuid", true, f.UUID)
	if f.Between != nil {
		o["between"] = []any{f.Between[0], f.Between[1]}
	}
	for word, n := range map[string]*int{"len_eq": f.LenEq, "len_min": f.LenMin, "len_max": f.LenMax} {
		if n != nil {
			o[word] = int64(*n)
		}
	}
	for _, r := range f.Rules {
		before, several := o[r.Word].([]any)
		if list, ok := r.Arg.([]any); ok && several {
			o[r.Word] = slices.Concat(before, list)
			continue
		}
		set(r.Word, r.Arg, r.Word != "")
	}
	set("err", f.Err, f.Err != "")
	set("reference", f.Reference, f.Reference != "")
	set("on_delete", string(f.OnDelete), f.OnDelete != Restrict)
	set("abstract", true, f.Abstract)
	set("referenceable", true, f.Referenceable)
	set("encrypted", true, f.Encrypted)
	set("transient", true, f.Transient)
	if f.Keys != nil {
		o["keys"] = f.Keys.Describe()
	}
	if f.Elem != nil {
		if f.Kind == Map {
			o["values"] = f.Elem.Describe()
		} else {
			o["elements"] = f.Elem.Describe()
		}
	}
	if f.Fields != nil {
		o["fields"] = f.Fields.describeList()
		if len(f.Fields.Checks) > 0 {
			o["entity_checks"] = f.Fields.Describe()["entity_checks"]
		}
		if len(f.Fields.Shorthands) > 0 {
			list := make([]any, len(f.Fields.Shorthands))
			for i := range f.Fields.Shorthands {
				sh := &f.Fields.Shorthands[i].Field
				list[i] = Object{sh.Name: sh.Describe()}
			}
			o["shorthand_fields"] = list
		}
	}
	return o
}
