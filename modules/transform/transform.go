// Package transform changes what has names and values, such as headers, queries
// and JSON objects: by rules that remove, rename, replace, add and append.
package transform

import "strings"

// Rules say what is to be changed, in the order of the fields. V is what a value
// is before it is known what the request says.
type Rules[V any] struct {
	Remove  []string
	Rename  []Pair[V] // to the name that the value stands for
	Replace []Pair[V] // where there is one
	Add     []Pair[V] // where there is none
	Append  []Pair[V]
}

// A Pair is a name, and what becomes of it.
type Pair[V any] struct {
	Name  string
	Value V
}

// A Bag is what rules change.
type Bag[T any] interface {
	Has(name string) bool
	Remove(name string)
	Rename(from, to string)
	Set(name string, value T)
	Append(name string, value T)
}

// Split takes "name:value" apart. Any number of colons may stand between them.
func Split(text string) (name, value string) {
	name, value, _ = strings.Cut(text, ":")
	return name, strings.TrimLeft(value, ":")
}

// Empty reports whether there are no rules.
func (r *Rules[V]) Empty() bool {
	return len(r.Remove)+len(r.Rename)+len(r.Replace)+len(r.Add)+len(r.Append) == 0
}

// Apply changes the bag, and reports whether it did. The functions say what a
// value stands for, as a name and as a value; a rule for which it stands for
// nothing is left out.
func Apply[V, T any](r *Rules[V], bag Bag[T], name func(V) (string, bool), value func(V) (T, bool)) (changed bool) {
	for _, n := range r.Remove {
		if bag.Has(n) {
			bag.Remove(n)
			changed = true
		}
	}
	for _, p := range r.Rename {
		if !bag.Has(p.Name) {
			continue
		}
		if to, ok := name(p.Value); ok {
			bag.Rename(p.Name, to)
			changed = true
		}
	}
	set := func(p Pair[V], do func(string, T)) {
		if v, ok := value(p.Value); ok {
			do(p.Name, v)
			changed = true
		}
	}
	for _, p := range r.Replace {
		if bag.Has(p.Name) {
			set(p, bag.Set)
		}
	}
	for _, p := range r.Add {
		if !bag.Has(p.Name) {
			set(p, bag.Set)
		}
	}
	for _, p := range r.Append {
		set(p, bag.Append)
	}
	return changed
}
