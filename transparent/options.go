package transparent

import (
	"fmt"
	"strings"
)

// Modes are the ways in which connections may be intercepted.
type Modes uint8

const (
	// ModeTPROXY needs a transparent socket, and so a capability.
	ModeTPROXY Modes = 1 << iota
	// ModeRedirect needs nothing of the process.
	ModeRedirect

	// AllModes is the default.
	AllModes = ModeTPROXY | ModeRedirect
)

// ParseModes reads names of modes: "tproxy", "redirect". None are all.
func ParseModes(names ...string) (m Modes, err error) {
	for _, name := range names {
		switch name {
		case "tproxy":
			m |= ModeTPROXY
		case "redirect":
			m |= ModeRedirect
		default:
			return 0, fmt.Errorf("unknown mode %q; expected tproxy or redirect", name)
		}
	}
	if m == 0 {
		m = AllModes
	}
	return m, nil
}

// String lists the modes as ParseModes reads them, separated by a blank.
func (m Modes) String() string {
	var names []string
	if m&ModeTPROXY != 0 {
		names = append(names, "tproxy")
	}
	if m&ModeRedirect != 0 {
		names = append(names, "redirect")
	}
	return strings.Join(names, " ")
}

// Admits reports whether a listener that serves the modes takes a connection
// that came in this way. With required, direct connections, and those of which
// the kernel does not tell, are refused.
func (m Modes) Admits(h How, required bool) bool {
	switch h {
	case TPROXY:
		return m&ModeTPROXY != 0
	case Redirect:
		return m&ModeRedirect != 0
	}
	return !required
}
