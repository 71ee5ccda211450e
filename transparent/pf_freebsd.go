package transparent

const diocNatLook = 0xC04C4417

// natLook is struct pfioc_natlook of FreeBSD's sys/net/pfvar.h.
type natLook struct {
	saddr, daddr, rsaddr, rdaddr [16]byte
	sport, dport, rsport, rdport [2]byte
	af, proto, direction         uint8

	_ uint8 // the addresses are aligned to four bytes
}
