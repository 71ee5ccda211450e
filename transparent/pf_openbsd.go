package transparent

const diocNatLook = 0xC0504417

// natLook is struct pfioc_natlook of OpenBSD's sys/net/pfvar.h.
type natLook struct {
	saddr, daddr, rsaddr, rdaddr       [16]byte
	rdomain, rrdomain                  uint16
	sport, dport, rsport, rdport       [2]byte
	af, proto, protoVariant, direction uint8
}
