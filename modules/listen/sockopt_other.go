//go:build !(linux || darwin || freebsd || openbsd || netbsd || dragonfly)

package listen

import (
	"errors"
	"net/netip"
)

// Without SO_REUSEPORT a bind whose flags have changed cannot be opened beside
// the one it replaces: its address stays taken until that one is closed.
const (
	sharesAddresses    = false
	spreadsConnections = false
)

func setReusePort(uintptr) error { return nil } // nobody asked for it by name

func setDeferAccept(uintptr) error { return errors.ErrUnsupported }

// setIPv6Only can only confirm what net has done already.
func setIPv6Only(_ uintptr, on bool) error {
	if on {
		return nil
	}
	return errors.ErrUnsupported
}

func setBacklog(uintptr, int) error { return errors.ErrUnsupported }

func backlogCap() int { return 0 }

// probe has nothing to find out: two sockets cannot share an address anyway.
func probe(netip.AddrPort, bool) error { return nil }
