package router

import (
	"cmp"
	"encoding/binary"
	"slices"
	"unsafe"

	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// An entry is a rule at one place of the index, which is a host and a path.
type entry[V any] struct {
	rule *rule[V]
	port uint32 // of the host by which it stands here, or anyPort
}

func compareEntries[V any](a, b entry[V]) int {
	return cmp.Or(compareRules(a.rule, b.rule), cmp.Compare(a.port, b.port))
}

// A leaf is the rules of one place. Most hold one rule, so one takes no
// further memory. A leaf never changes.
type leaf[V any] struct {
	one  *rule[V]    // the only rule, if it is for any port
	more *entries[V] // otherwise
}

// A home is a rule that was the first at its place, with all that a search reads
// of the place: one piece of memory to wait for. The path comes first, since it
// is compared first.
type home[V any] struct {
	room trie.Room[leaf[V]]
	path [56]byte // of the place, if it is not longer
	rule rule[V]
}

func newHome[V any](r *rule[V]) *home[V] { return &home[V]{rule: *r} }

// text answers the key of the place in the memory of the home.
func (h *home[V]) text(key string) string {
	if key == "" || len(key) > len(h.path) {
		return key
	}
	return unsafe.String(&h.path[0], copy(h.path[:], key))
}

// entries are several rules, in the order in which they are tried, or a crowd.
type entries[V any] struct {
	few   []entry[V]
	crowd *crowd[V]
}

// crowdSize is the number of rules from which on a leaf is a crowd. Below it,
// going through them takes a fraction of a microsecond and a tenth of the
// memory; see BenchmarkMatch_onePlace.
const crowdSize = 17

// with answers the leaf with an entry more, and whether it is new: one that
// ranks the same is replaced.
func (l leaf[V]) with(o trie.Owner, e entry[V]) (leaf[V], bool) {
	if l.more != nil && l.more.crowd != nil {
		c, added := l.more.crowd.with(o, e)
		return leaf[V]{more: &entries[V]{crowd: c}}, added
	}
	few := l.few()
	i, found := slices.BinarySearchFunc(few, e, compareEntries)
	if found {
		few = slices.Clone(few)
		few[i] = e
		return newLeaf(few), false
	}
	few = slices.Concat(few[:i], []entry[V]{e}, few[i:])
	if len(few) < crowdSize {
		return newLeaf(few), true
	}
	c := &crowd[V]{}
	for _, e := range few {
		c, _ = c.with(o, e)
	}
	return leaf[V]{more: &entries[V]{crowd: c}}, true
}

// without answers the leaf without the entry that ranks as e does, and whether
// there was one.
func (l leaf[V]) without(o trie.Owner, e entry[V]) (leaf[V], bool) {
	if l.more != nil && l.more.crowd != nil {
		c, removed := l.more.crowd.without(o, e)
		if c.empty() {
			return leaf[V]{}, removed
		}
		return leaf[V]{more: &entries[V]{crowd: c}}, removed
	}
	few := l.few()
	i, found := slices.BinarySearchFunc(few, e, compareEntries)
	if !found {
		return l, false
	}
	return newLeaf(slices.Concat(few[:i], few[i+1:])), true
}

func (l leaf[V]) empty() bool { return l.one == nil && l.more == nil }

// few answers the entries of a leaf that is no crowd.
func (l leaf[V]) few() []entry[V] {
	switch {
	case l.more != nil:
		return l.more.few
	case l.one != nil:
		return []entry[V]{{l.one, anyPort}}
	}
	return nil
}

func newLeaf[V any](few []entry[V]) leaf[V] {
	switch {
	case len(few) == 0:
		return leaf[V]{}
	case len(few) == 1 && few[0].port == anyPort:
		return leaf[V]{one: few[0].rule}
	}
	return leaf[V]{more: &entries[V]{few: few}}
}

// rules yields the rules of a leaf, some of them more than once.
func (l leaf[V]) rules(yield func(*rule[V]) bool) {
	if l.more != nil && l.more.crowd != nil {
		l.more.crowd.rules(yield)
		return
	}
	for _, e := range l.few() {
		if !yield(e.rule) {
			return
		}
	}
}

// rank answers a string that sorts as compareEntries does.
func (e entry[V]) rank() string {
	b := make([]byte, 0, 8+16+4)
	b = binary.BigEndian.AppendUint64(b, ^uint64(e.rule.priority))
	for _, c := range e.rule.id {
		b = append(b, ^c)
	}
	b = binary.BigEndian.AppendUint32(b, e.port)
	return string(b)
}
