package declarative

import (
	"maps"
	"slices"
)

// node is a value of a document together with the line where it stands. For
// a member of an object that is the line of its key.
type node struct {
	line  int
	value any // nil, bool, string, int64, float64, []node or members
}

// members are an object's keys and values in the order of the text. Its keys
// are unique.
type members []member

type member struct {
	key string
	node
}

// get answers the member with the key given, or nil.
func (m members) get(key string) *node {
	for i := range m {
		if m[i].key == key {
			return &m[i].node
		}
	}
	return nil
}

// plain answers the value as schema tables expect it: objects are maps, lists
// are []any. What it returns shares nothing that can be written with the tree.
func (n node) plain() any {
	switch v := n.value.(type) {
	case members:
		o := make(map[string]any, len(v))
		for i := range v {
			o[v[i].key] = v[i].plain()
		}
		return o
	case []node:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i].plain()
		}
		return list
	default:
		return v
	}
}

// manyMembers is the length from which on it is worth to have a map of an
// object's members.
const manyMembers = 32

// index finds members by their keys. It remembers where those of long objects
// are, by the first member of each.
type index map[*member]map[string]*node

// get answers what members.get answers.
func (x index) get(m members, key string) *node {
	if len(m) <= manyMembers {
		return m.get(key)
	}
	all := x[&m[0]]
	if all == nil {
		all = make(map[string]*node, len(m))
		for i := range m {
			if all[m[i].key] == nil {
				all[m[i].key] = &m[i].node
			}
		}
		x[&m[0]] = all
	}
	return all[key]
}

// line answers the line of the value that path leads to, or of the last part
// of the path that the text has: a required field that is missing is reported
// where its record begins. Steps are keys (string) and positions (int, from 0).
func (x index) line(n *node, path []any) int {
	for _, step := range path {
		var next *node
		switch v := n.value.(type) {
		case members:
			if key, ok := step.(string); ok {
				next = x.get(v, key)
			}
		case []node:
			if i, ok := step.(int); ok && i >= 0 && i < len(v) {
				next = &v[i]
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return n.line
}

// fromPlain makes a tree of a value that has no text, such as one decoded from
// a form. Its lines are 0, which means that they are unknown.
func fromPlain(v any) node {
	switch v := v.(type) {
	case map[string]any:
		m := make(members, 0, len(v))
		for _, key := range sortedKeys(v) {
			m = append(m, member{key, fromPlain(v[key])})
		}
		return node{value: m}
	case []any:
		list := make([]node, len(v))
		for i := range v {
			list[i] = fromPlain(v[i])
		}
		return node{value: list}
	default:
		return node{value: v}
	}
}

// checkDuplicates reports the keys that an object has more than once. It is
// linear for the long objects, which are rare, and without a map for the others.
func (m members) checkDuplicates(report func(line int, format string, args ...any)) {
	if len(m) > manyMembers {
		first := make(map[string]int, len(m))
		for i := range m {
			if line, seen := first[m[i].key]; seen {
				report(m[i].line, duplicateKey, m[i].key, line)
			} else {
				first[m[i].key] = m[i].line
			}
		}
		return
	}
	for i := range m {
		for j := range i {
			if m[j].key == m[i].key {
				report(m[i].line, duplicateKey, m[i].key, m[j].line)
				break
			}
		}
	}
}

const duplicateKey = "duplicate key %q (first on line %d)"

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
