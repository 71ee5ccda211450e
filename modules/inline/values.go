package inline

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// field finds a field or shorthand that a person may set, nil if there is
// none.
func field(fs *schema.Fields, name string) *schema.Field {
	if f := fs.Field(name); f != nil {
		if f.Transient {
			return nil
		}
		return f
	}
	for i := range fs.Shorthands {
		if f := &fs.Shorthands[i].Field; f.Name == name {
			return f
		}
	}
	return nil
}

// names lists the fields and shorthands that a person may set.
func names(fs *schema.Fields) []string {
	var list []string
	for i := range fs.List {
		if f := &fs.List[i]; !f.Transient {
			list = append(list, f.Name)
		}
	}
	for i := range fs.Shorthands {
		if name := fs.Shorthands[i].Field.Name; !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return list
}

// field reads the values of a field into o, the dispenser being at its name.
// Lists, maps and records may be written in several parts.
func (w *walker) field(o schema.Object, f *schema.Field) error {
	name := w.d.Val()
	switch f.Kind {
	case schema.Array, schema.Set:
		list, _ := o[name].([]any)
		list, err := w.list(list, f)
		o[name] = list
		return err
	case schema.Map:
		m, _ := o[name].(schema.Object)
		if m == nil {
			m = schema.Object{}
			o[name] = m
		}
		return w.mapping(m, f)
	case schema.Record:
		r, _ := o[name].(schema.Object)
		if r == nil {
			r = schema.Object{}
			o[name] = r
		}
		if f.Fields == nil {
			return w.freeBlock(r)
		}
		return w.record(r, f.Fields, name)
	}
	if _, twice := o[name]; twice {
		return w.d.Errf("%s is set already", name)
	}
	words, err := w.words(1, 1)
	if err != nil {
		return err
	}
	o[name], err = w.scalar(f, words[0])
	return err
}

// words reads the arguments of a line, and refuses a block behind them.
func (w *walker) words(least, most int) ([]string, error) {
	name := w.d.Val()
	words := w.d.RemainingArgs()
	switch {
	case slices.Contains(words, "}"):
		return nil, w.brace()
	case len(words) < least:
		return nil, w.d.Errf("%s: expected a value", name)
	case most > 0 && len(words) > most:
		return nil, w.d.Errf("%s takes one value, not %d: %s; if they belong to other options, put each on a line of its own",
			name, len(words), strings.Join(words, " "))
	}
	if nesting := w.d.Nesting(); w.d.NextBlock(nesting) {
		return nil, w.d.Errf("%s takes no block", name)
	}
	return words, nil
}

// list reads elements: words, or for a list of records the block of one.
func (w *walker) list(list []any, f *schema.Field) ([]any, error) {
	if f.Elem.Kind == schema.Record {
		r := schema.Object{}
		err := w.record(r, f.Elem.Fields, w.d.Val())
		return append(list, r), err
	}
	words, err := w.words(1, 0)
	if err != nil {
		return nil, err
	}
	for _, word := range words {
		v, err := w.scalar(f.Elem, word)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// mapping reads a block with a key and its values on each line, or one such
// pair on the field's own line.
func (w *walker) mapping(m schema.Object, f *schema.Field) error {
	name := w.d.Val()
	if w.d.NextArg() {
		return w.pair(m, f)
	}
	empty := true
	for nesting := w.d.Nesting(); w.d.NextBlock(nesting); {
		empty = false
		if err := w.pair(m, f); err != nil {
			return err
		}
	}
	if empty {
		return w.d.Errf("%s: expected a key and its values, or a block of such lines", name)
	}
	return nil
}

func (w *walker) pair(m schema.Object, f *schema.Field) error {
	if w.d.Val() == "}" {
		return w.brace()
	}
	elem := *f.Elem
	elem.Name = w.d.Val()
	return w.field(m, &elem)
}

// record reads a block of fields.
func (w *walker) record(r schema.Object, fs *schema.Fields, name string) error {
	if w.d.NextArg() {
		return w.d.Errf("unexpected argument %q: %s takes a block of fields: %s", w.d.Val(), name, strings.Join(names(fs), ", "))
	}
	for nesting := w.d.Nesting(); w.d.NextBlock(nesting); {
		f := field(fs, w.d.Val())
		if f == nil {
			return w.unknown(name, "one of", names(fs))
		}
		if err := w.field(r, f); err != nil {
			return err
		}
	}
	return nil
}

// scalar gives a word the type of a field.
func (w *walker) scalar(f *schema.Field, word string) (any, error) {
	switch f.Kind {
	case schema.Boolean:
		switch word {
		case "on", "true":
			return true, nil
		case "off", "false":
			return false, nil
		}
		return nil, w.d.Errf("%s: expected on or off, not %q", f.Name, word)
	case schema.Integer:
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return nil, w.d.Errf("%s: expected an integer, not %q", f.Name, word)
		}
		return n, nil
	case schema.Number:
		if !isNumber(word) {
			return nil, w.d.Errf("%s: expected a number, not %q", f.Name, word)
		}
		return json.Number(word), nil
	case schema.JSON:
		return guess(word), nil
	}
	return word, nil
}

// free reads a line of a record about which nothing is known: one word is a
// value, several are a list, a block is a record.
func (w *walker) free(o schema.Object) error {
	name := w.d.Val()
	if name == "}" {
		return w.brace()
	}
	if !w.d.NextArg() {
		r, _ := o[name].(schema.Object)
		if r == nil {
			r = schema.Object{}
		}
		o[name] = r
		return w.freeBlock(r)
	}
	w.d.Prev()
	words, err := w.words(1, 0)
	if err != nil {
		return err
	}
	if len(words) == 1 {
		o[name] = guess(words[0])
		return nil
	}
	list := make([]any, len(words))
	for i, word := range words {
		list[i] = guess(word)
	}
	o[name] = list
	return nil
}

func (w *walker) freeBlock(o schema.Object) error {
	name, empty := w.d.Val(), true
	for nesting := w.d.Nesting(); w.d.NextBlock(nesting); {
		empty = false
		if err := w.free(o); err != nil {
			return err
		}
	}
	if empty {
		return w.d.Errf("%s: expected a value or a block", name)
	}
	return nil
}

// guess gives a word the type that it looks like.
func guess(word string) any {
	switch word {
	case "on", "true":
		return true
	case "off", "false":
		return false
	}
	if isNumber(word) {
		return json.Number(word)
	}
	return word
}

// isNumber tells whether a word is a number in JSON.
func isNumber(word string) bool {
	return word != "" && strings.IndexByte("-0123456789", word[0]) >= 0 && json.Valid([]byte(word))
}
