package trie

import "sync/atomic"

// An Owner stands for one batch of changes. Nodes carry the owner that made
// them, and that owner alone may write them in place; so a batch copies each
// node that it touches once, however often it touches it.
//
// The zero Owner owns nothing: with it, every change copies. An owner must be
// forgotten before a map that it changed is handed to readers.
type Owner uint64

var owners atomic.Uint64

// NewOwner begins a batch.
func NewOwner() Owner { return Owner(owners.Add(1)) }

// Put sets the value of a key on behalf of a batch. Copies of the map that
// were taken before the batch began do not change.
func (m *Map[V]) Put(o Owner, key string, v V) { m.put(o, nil, key, v) }

// Room is what a map takes of memory for a key and its value. One that lies
// beside what the value refers to, in one piece of memory, spares those who look
// the key up a wait for memory. It serves one key of one map.
type Room[V any] struct{ node node[V] }

// PutIn does what Put does, and keeps key and value in the room until another
// batch changes them or what is below the key.
func (m *Map[V]) PutIn(o Owner, room *Room[V], key string, v V) { m.put(o, &room.node, key, v) }

func (m *Map[V]) put(o Owner, room *node[V], key string, v V) {
	if m.root.put(o, room, key, 0, v) {
		m.size++
	}
}

// Delete removes a key on behalf of a batch, and reports whether it was there.
func (m *Map[V]) Delete(o Owner, key string) bool {
	if _, ok := m.Get(key); !ok {
		return false
	}
	m.root.remove(o, key)
	m.size--
	return true
}

// Edit is a batch of changes to one map. It is for one goroutine.
type Edit[V any] struct {
	m     Map[V]
	owner Owner
}

// Edit begins a batch; m stays as it is.
func (m Map[V]) Edit() *Edit[V] { return &Edit[V]{m: m, owner: NewOwner()} }

// Len answers the number of keys.
func (e *Edit[V]) Len() int { return e.m.size }

// Get answers the value of a key as the batch has left it.
func (e *Edit[V]) Get(key string) (V, bool) { return e.m.Get(key) }

// Put sets the value of a key.
func (e *Edit[V]) Put(key string, v V) { e.m.Put(e.owner, key, v) }

// Delete removes a key, and reports whether it was there.
func (e *Edit[V]) Delete(key string) bool { return e.m.Delete(e.owner, key) }

// Map answers the map as it now is. The batch may go on: what follows does not
// change the answer.
func (e *Edit[V]) Map() Map[V] {
	e.owner = NewOwner()
	return e.m
}
