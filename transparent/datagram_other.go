//go:build !linux

package transparent

import (
	"errors"
	"net/netip"
)

const intakePackets = false

func tellDestinations(uintptr) error { return errors.ErrUnsupported }

func destinationOf([]byte) (netip.AddrPort, bool) { return netip.AddrPort{}, false }

func prepareReply(uintptr, bool) error { return errors.ErrUnsupported }

func deafen(uintptr, netip.AddrPort) {}
