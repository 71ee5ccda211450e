package transform

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
)

// An Object is a JSON object whose members keep their order, and whose values
// keep the form in which they were written: numbers lose no digits.
type Object struct {
	members []member
}

type member struct {
	name  string
	value json.RawMessage
}

// ParseObject reads a JSON object. Anything else is an error.
func ParseObject(text []byte) (*Object, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil {
		return nil, err
	} else if t != json.Delim('{') {
		return nil, errors.New("expected a JSON object")
	}
	o := new(Object)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: t.(string)} // the decoder lets nothing else stand there
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		o.members = append(o.members, m)
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("expected nothing behind the JSON object")
	}
	return o, nil
}

// Text encodes a string.
func Text(s string) json.RawMessage {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	_ = e.Encode(s)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
}

// Bytes is the object as JSON.
func (o *Object) Bytes() []byte {
	out := []byte{'{'}
	for i, m := range o.members {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(append(out, Text(m.name)...), ':'), m.value...)
	}
	return append(out, '}')
}

// find answers the member that counts: of several with one name, the last.
func (o *Object) find(name string) int {
	for i := len(o.members) - 1; i >= 0; i-- {
		if o.members[i].name == name {
			return i
		}
	}
	return -1
}

// Has reports whether there is such a member.
func (o *Object) Has(name string) bool { return o.find(name) >= 0 }

// Remove drops the member.
func (o *Object) Remove(name string) {
	o.members = slices.DeleteFunc(o.members, func(m member) bool { return m.name == name })
}

// Rename gives the member another name, in place of the one that had it before.
func (o *Object) Rename(from, to string) {
	i := o.find(from)
	if i < 0 || from == to {
		return
	}
	o.members[i].name = to
	o.only(i, from)
}

// Set gives the member the value.
func (o *Object) Set(name string, value json.RawMessage) {
	i := o.find(name)
	if i < 0 {
		o.members = append(o.members, member{name, value})
		return
	}
	o.members[i].value = value
	o.only(i, name)
}

// only drops other members that have the name of the one at i, or the other name.
func (o *Object) only(i int, other string) {
	name, at := o.members[i].name, -1
	o.members = slices.DeleteFunc(o.members, func(m member) bool {
		at++
		return at != i && (m.name == name || m.name == other)
	})
}

// Append makes a list of the member and the value: a list gets longer, and any
// other value, unless it is an object, becomes the first one of a list.
func (o *Object) Append(name string, value json.RawMessage) {
	i := o.find(name)
	if i < 0 {
		o.members = append(o.members, member{name, slices.Concat([]byte{'['}, value, []byte{']'})})
		return
	}
	old := bytes.TrimSpace(o.members[i].value)
	switch {
	case old[0] == '{':
		return
	case old[0] == '[':
		inner := bytes.TrimSpace(old[1 : len(old)-1])
		if len(inner) > 0 {
			inner = append(slices.Clone(inner), ',')
		}
		old = inner
	default:
		old = append(slices.Clone(old), ',')
	}
	o.members[i].value = slices.Concat([]byte{'['}, old, value, []byte{']'})
	o.only(i, name)
}

// Interface guard
var _ Bag[json.RawMessage] = (*Object)(nil)
