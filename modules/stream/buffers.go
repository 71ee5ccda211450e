package stream

import "sync"

// newBuffers makes a pool of buffers of one size.
func newBuffers(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}
