package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// The files beside this one say how each system spells the options:
//
//	sharesAddresses            whether two sockets can be bound to one address
//	spreadsConnections         whether sockets that share an address share its connections
//	setReusePort(fd)           let several sockets bind one address
//	setDeferAccept(fd)         hold connections back until data has come
//	setIPv6Only(fd, on)        whether an IPv6 wildcard leaves IPv4 alone
//	setBacklog(fd, n)          listen(2) once more
//	backlogCap()               the longest queue the kernel grants; 0 if unknown
//	probe(addr, ipv6Only)      EADDRINUSE if anybody listens on addr
//
// What a system lacks returns errors.ErrUnsupported.

// A sockOpt is set between socket(2) and bind(2).
type sockOpt struct {
	flag string // as the warning names it
	set  func(fd uintptr) error
}

// options are what b sets on each socket for addr.
func (b Bind) options(addr netip.Addr) []sockOpt {
	options := []sockOpt{{"reuseport", setReusePort}}
	if b.Deferred {
		options = append(options, sockOpt{"deferred", setDeferAccept})
	}
	if addr.Is6() {
		only := b.IPv6Only != "off"
		name := "ipv6only=on"
		if !only {
			name = "ipv6only=off"
		}
		options = append(options, sockOpt{name, func(fd uintptr) error { return setIPv6Only(fd, only) }})
	}
	return options
}

// setAll sets the options, and returns a warning for each that failed.
func setAll(fd uintptr, options []sockOpt) (warnings []string) {
	for _, option := range options {
		if err := option.set(fd); err != nil {
			warnings = append(warnings, unhonoured(option.flag, err))
		}
	}
	return warnings
}

// setBacklogOf changes the length of the queue: net.ListenConfig has no field
// for it, but a second listen(2) does just that.
func setBacklogOf(ln *net.TCPListener, n int) []string {
	name := fmt.Sprintf("backlog=%d", n)
	raw, err := ln.SyscallConn()
	if err == nil {
		if ctlErr := raw.Control(func(fd uintptr) { err = setBacklog(fd, n) }); ctlErr != nil {
			err = ctlErr
		}
	}
	if err != nil {
		return []string{unhonoured(name, err)}
	}
	if limit := backlogCap(); limit > 0 && n > limit {
		return []string{fmt.Sprintf("flag %q: the kernel grants %d (sysctl net.core.somaxconn)", name, limit)}
	}
	return nil
}

func unhonoured(flag string, err error) string {
	if errors.Is(err, errors.ErrUnsupported) {
		return fmt.Sprintf("flag %q: this system does not have it", flag)
	}
	return fmt.Sprintf("flag %q: this system refused it: %v", flag, err)
}
