//go:build race

package http1

// spoil overwrites what has been given back, so that whoever has kept it sees that
// it is not its own any more. Without the race detector nothing is done.
func (t text) spoil() {
	t = t[:cap(t)]
	for i := range t {
		t[i] = 0xAA
	}
}

// spoil does it to the memory of a head.
func (h *Head) spoil() {
	for i, fs := 0, h.Fields[:cap(h.Fields)]; i < len(fs); i++ {
		fs[i] = Field{"\xAA", "\xAA"}
	}
	for i, vs := 0, h.values[:cap(h.values)]; i < len(vs); i++ {
		vs[i] = "\xAA"
	}
	for name := range h.header {
		h.header[name] = []string{"\xAA"}
	}
}
