package health

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/dial"
)

// A probe is how the targets of an upstream are asked how they are. It is
// immutable.
type probe struct {
	kind    string // http, https, tcp, grpc or grpcs
	timeout time.Duration
	path    string
	headers http.Header
	lines   string // the headers, as HTTP/1.1 writes them
	host    string // the upstream's host_header, if it has one
	sni     string // https_sni
	tls     dial.TLS
}

// An answer is what a probe got: an error, or a response. A target that speaks
// TCP only responds by connecting.
type answer struct {
	err    error
	status int  // of HTTP; 0: what came was none
	judged bool // there is no status to judge: see fine
	fine   bool
	note   string // what came instead of a good answer
}

// A finding is what an answer means.
type finding struct {
	kind   Kind
	silent bool // it means nothing
	status int
	err    error
}

// finding judges an answer.
func (j *judge) finding(a answer) finding {
	switch {
	case a.err != nil && isTimeout(a.err):
		return finding{kind: Timeout, err: a.err}
	case a.err != nil:
		return finding{kind: TCPFailure, err: a.err}
	case a.judged && a.fine:
		return finding{kind: Success}
	case a.judged:
		return finding{kind: HTTPFailure, status: a.status, err: errors.New(a.note)}
	}
	kind, ok := j.status(a.status)
	return finding{kind: kind, silent: !ok, status: a.status}
}

// fallbackTimeout is that of a probe with a timeout of 0 (nginx's
// lua_socket_*_timeout).
const fallbackTimeout = 60 * time.Second

func newProbe(p *balancer.Plan) *probe {
	active := &p.Upstream.Healthchecks.Active
	q := &probe{
		kind:    active.Type,
		timeout: seconds(active.Timeout),
		path:    requestTarget(active.HTTPPath),
		host:    p.Upstream.HostHeader,
		sni:     active.HTTPSSNI,
		tls: dial.TLS{
			Verify: active.HTTPSVerifyCertificate,
			Depth:  1, // nginx's lua_ssl_verify_depth
			Client: p.Client,
		},
	}
	if q.timeout <= 0 {
		q.timeout = fallbackTimeout
	}
	q.headers = make(http.Header)
	for name, values := range active.Headers {
		for _, value := range values {
			if strings.ContainsAny(value, "\r\n\x00") {
				continue // would be another request
			}
			if strings.EqualFold(name, "Host") {
				q.host = value
				continue
			}
			q.headers.Add(name, value)
		}
	}
	var lines strings.Builder
	_ = q.headers.Write(&lines) // a Builder takes all
	q.lines = lines.String()
	return q
}

// requestTarget is a path without bytes that would end it, or its line.
func requestTarget(path string) string {
	if path == "" {
		return "/"
	}
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c <= ' ' || c == '#' || c >= 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// ask probes an address that goes by a host.
func (p *probe) ask(ctx context.Context, address, host string, guarded bool) answer {
	if p.kind == "grpc" || p.kind == "grpcs" {
		return p.askGRPC(ctx, address, host, guarded)
	}
	conn, err := p.connect(ctx, address, guarded)
	if err != nil {
		return answer{err: err}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	switch p.kind {
	case "tcp":
		return answer{judged: true, fine: true}
	case "https":
		c, err := p.secure(ctx, conn, host)
		if err != nil {
			return answer{err: err}
		}
		return p.askHTTP(c, host)
	}
	return p.askHTTP(conn, host)
}

func (p *probe) connect(ctx context.Context, address string, guarded bool) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	return dial.Dialer{Guarded: guarded}.TCP(ctx, address)
}

// secure makes the TLS handshake.
func (p *probe) secure(ctx context.Context, conn net.Conn, host string, protocols ...string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	config := p.config(host)
	config.NextProtos = protocols
	c := tls.Client(conn, config)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("tls handshake: %w", err)
	}
	return c, nil
}

// config is for the handshake with a target: its name is https_sni, else that of
// the Host header.
func (p *probe) config(host string) *tls.Config {
	t := p.tls
	t.ServerName = p.sni
	if t.ServerName == "" {
		t.ServerName = p.hostHeader(host)
		if name, _, err := net.SplitHostPort(t.ServerName); err == nil {
			t.ServerName = name
		}
		t.ServerName = strings.Trim(t.ServerName, "[]")
	}
	return t.Config()
}

// hostHeader is the Host that a target is asked for: the upstream's, else its
// own name, without a port, as Kong does.
func (p *probe) hostHeader(host string) string {
	switch {
	case p.host != "":
		return p.host
	case strings.Contains(host, ":"):
		return "[" + host + "]"
	}
	return host
}

// askHTTP sends a request and reads the status of its response. The rest of it
// is of no interest: the connection is closed.
//
// Kong asks in HTTP/1.0, which not every server answers.
func (p *probe) askHTTP(conn net.Conn, host string) answer {
	_ = conn.SetDeadline(time.Now().Add(p.timeout))
	_, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", p.path, p.hostHeader(host), p.lines)
	if err != nil {
		return answer{err: err}
	}
	r := bufio.NewReader(conn)
	for informational := 0; ; informational++ {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			return answer{} // no status line is that long
		}
		if err != nil {
			return answer{err: err}
		}
		status := parseStatus(line)
		if status < 100 || status > 199 || informational == 10 {
			return answer{status: status}
		}
		for len(bytes.TrimRight(line, "\r\n")) > 0 {
			if line, err = r.ReadSlice('\n'); err != nil {
				return answer{err: err}
			}
		}
	}
}

// parseStatus reads the status of a response's first line; 0 if it has none.
func parseStatus(line []byte) int {
	rest, ok := bytes.CutPrefix(line, []byte("HTTP/"))
	if !ok {
		return 0
	}
	version, rest, ok := bytes.Cut(rest, []byte(" "))
	if !ok || len(version) == 0 || len(bytes.Trim(version, "0123456789.")) > 0 || len(rest) < 3 {
		return 0
	}
	status := 0
	for i, c := range rest {
		if c < '0' || c > '9' {
			if i == 3 && (c == ' ' || c == '\r' || c == '\n') {
				return status
			}
			return 0
		}
		if status = status*10 + int(c-'0'); i == 3 {
			return 0
		}
	}
	return status
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}
