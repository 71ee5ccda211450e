package stream

import "net"

// An alert is a fatal TLS alert (RFC 8446, section 6.2).
type alert byte

const (
	alertAccessDenied     alert = 49
	alertInternalError    alert = 80
	alertUnrecognizedName alert = 112 // RFC 6066, section 3
)

// sendAlert tells a client that has sent its ClientHello, and got nothing yet,
// why there is no handshake. It does not wait.
func sendAlert(c net.Conn, a alert) {
	const (
		alertRecord = 21
		fatal       = 2
	)
	_, _ = c.Write([]byte{alertRecord, 3, 3, 0, 2, fatal, byte(a)})
}
