package transparent

const diocNatLook = 0xC0544417

// natLook is struct pfioc_natlook of XNU's bsd/net/pfvar.h, where a port is
// the beginning of a union of four bytes.
type natLook struct {
	saddr, daddr, rsaddr, rdaddr       [16]byte
	sport, dport, rsport, rdport       [4]byte
	af, proto, protoVariant, direction uint8
}
