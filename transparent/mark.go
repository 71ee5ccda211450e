package transparent

// Marks of packets and sockets (SO_MARK, nftables' `meta mark`, the fwmark of
// `ip rule`), by which firewall rules tell the gateway's traffic. They are two
// bits that the usual users of marks leave alone (kube-proxy, Calico, Cilium and
// Tailscale use others), so that rules can set and match them with [MarkMask].
const (
	// IntakeMark is for packets that a TPROXY rule gives to this host.
	IntakeMark = 0x10

	// Mark is on the connections that the gateway itself makes, so that rules
	// do not intercept them again.
	Mark = 0x20

	// MarkMask is the bits of both.
	MarkMask = IntakeMark | Mark
)
