package stream

import (
	"errors"
	"fmt"
	"strings"
)

// errDrained is why a connection is cut that went on for longer than its
// listener's grace period.
var errDrained = errors.New("the listener was closed")

// A protocolMiss is a route that fits a flow but for the protocol.
type protocolMiss struct {
	route    string
	wants    []string
	got      string
	listener string
}

func (m protocolMiss) Error() string {
	wants := strings.Join(m.wants, ", ")
	remedy := "send it to a listener of that protocol"
	switch {
	case m.got == "tcp" && strings.Contains(wants, "tls"):
		remedy = fmt.Sprintf("add the flag ssl to the listener %q, or tcp to the route's protocols", m.listener)
	case m.got == "tls" && strings.Contains(wants, "tcp"):
		remedy = fmt.Sprintf("connect to a listener without the flag ssl, or give the route the protocol tls or tls_passthrough instead of %q", wants)
	case m.got == "udp" && wants != "udp":
		remedy = "add udp to the route's protocols"
	case wants == "udp":
		remedy = fmt.Sprintf("add a listener with the flag udp, or %s to the route's protocols", m.got)
	}
	return fmt.Sprintf("route %s fits but for its protocols %s: %s", m.route, wants, remedy)
}
