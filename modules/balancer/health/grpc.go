package health

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
)

// askGRPC calls grpc.health.v1.Health/Check for the server as a whole
// (grpc/doc/health-checking.md). It is so small a part of gRPC that HTTP/2
// suffices.
func (p *probe) askGRPC(ctx context.Context, address, host string, guarded bool) answer {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	protocols := new(http.Protocols)
	scheme := "http"
	if p.kind == "grpcs" {
		scheme = "https"
		protocols.SetHTTP2(true)
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	transport := &http.Transport{
		Protocols:              protocols,
		DisableCompression:     true,
		MaxResponseHeaderBytes: 16 << 10,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return p.connect(ctx, address, guarded)
		},
		DialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return p.connectHTTP2(ctx, address, host, guarded)
		},
	}
	defer transport.CloseIdleConnections()

	const nothing = "\x00\x00\x00\x00\x00" // a message without a field: the server as a whole
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, scheme+"://"+address+"/grpc.health.v1.Health/Check",
		bytes.NewReader([]byte(nothing)))
	if err != nil {
		return answer{err: err}
	}
	req.Host = p.hostHeader(host)
	req.Header = p.headers.Clone()
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return answer{judged: true, status: resp.StatusCode, note: "the response is not one of gRPC"}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096)) // to its end: there are the trailers
	if err != nil {
		return answer{err: err}
	}
	code := resp.Header.Get("Grpc-Status") // a response without a body
	if code == "" {
		code = resp.Trailer.Get("Grpc-Status")
	}
	if code != "0" {
		return answer{judged: true, note: fmt.Sprintf("grpc-status is %q", code)}
	}
	if status, ok := servingStatus(body); !ok || status != serving {
		return answer{judged: true, note: fmt.Sprintf("serving status is %d", status)}
	}
	return answer{judged: true, fine: true}
}

func (p *probe) connectHTTP2(ctx context.Context, address, host string, guarded bool) (net.Conn, error) {
	conn, err := p.connect(ctx, address, guarded)
	if err != nil {
		return nil, err
	}
	var c *tls.Conn
	if c, err = p.secure(ctx, conn, host, "h2"); err != nil {
		conn.Close()
		return nil, err
	}
	if c.ConnectionState().NegotiatedProtocol != "h2" {
		c.Close()
		return nil, errors.New("the target does not speak HTTP/2 over TLS (no ALPN h2)")
	}
	return c, nil
}

// serving is the one good value of HealthCheckResponse.ServingStatus.
const serving = 1

// servingStatus reads field 1 of the one message in the body of a response, an
// enumeration; it is 0 where it is absent.
func servingStatus(body []byte) (status uint64, ok bool) {
	if len(body) < 5 || body[0] != 0 || uint64(binary.BigEndian.Uint32(body[1:])) != uint64(len(body)-5) {
		return 0, false
	}
	for m := body[5:]; len(m) > 0; {
		key, n := binary.Uvarint(m)
		if n <= 0 {
			return 0, false
		}
		m = m[n:]
		skip := uint64(0)
		switch key & 7 {
		case 0:
			value, n := binary.Uvarint(m)
			if n <= 0 {
				return 0, false
			}
			if key>>3 == 1 {
				status = value
			}
			skip = uint64(n)
		case 1:
			skip = 8
		case 2:
			length, n := binary.Uvarint(m)
			if n <= 0 || length > uint64(len(m)) {
				return 0, false
			}
			skip = uint64(n) + length
		case 5:
			skip = 4
		default:
			return 0, false
		}
		if skip > uint64(len(m)) {
			return 0, false
		}
		m = m[skip:]
	}
	return status, true
}
