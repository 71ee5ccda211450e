//go:build !linux

package relay

import (
	"errors"
	"syscall"
)

// ErrNoPipe is what Fill answers on this system.
var ErrNoPipe = errors.New("no pipe is to be had")

// Spliced is how many bytes the relays of this process have spliced: on this
// system none.
func Spliced() int64 { return 0 }

func (h *half) copy() error { return h.copyPlain() }

// A Pipe cannot be had on this system.
type Pipe struct{}

// Fill fails.
func (*Pipe) Fill(syscall.RawConn, int) (int, error) { return 0, ErrNoPipe }

// Empty fails.
func (*Pipe) Empty(syscall.RawConn, func(int), func()) error { return ErrNoPipe }

// Close does nothing.
func (*Pipe) Close() {}
