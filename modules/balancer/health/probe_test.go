package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/patient"
)

var quiet = log.New(io.Discard, "", 0)

// checked is an upstream with Kong's lists of statuses and a short timeout.
func checked(kind string, set func(*entity.Upstream)) *entity.Upstream {
	u := &entity.Upstream{ID: uuid.UUID{1}, Name: "pool.internal", Algorithm: "round-robin"}
	a, p := &u.Healthchecks.Active, &u.Healthchecks.Passive
	a.Type, a.Timeout, a.Concurrency, a.HTTPPath = kind, 5, 10, "/"
	a.Healthy.HTTPStatuses = []int{200, 302}
	a.Unhealthy.HTTPStatuses = []int{429, 404, 500, 501, 502, 503, 504, 505}
	p.Healthy.HTTPStatuses = []int{200, 201, 204, 301, 302}
	p.Unhealthy.HTTPStatuses = []int{429, 500, 503}
	if set != nil {
		set(u)
	}
	return u
}

// ask probes an address once.
func ask(t testing.TB, u *entity.Upstream, client *tls.Certificate, address, host string) finding {
	t.Helper()
	r := newRules(&balancer.Plan{Upstream: u, Client: client})
	return r.active.finding(r.probe.ask(t.Context(), address, host, true))
}

func TestProbe_http(t *testing.T) {
	for _, tt := range []struct{ name, answer, want string }{
		{"in the healthy list", "HTTP/1.1 200 OK\r\n\r\n", "success 200"},
		{"redirects are not followed", "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "success 302"},
		{"in the unhealthy list", "HTTP/1.1 503 Service Unavailable\r\n\r\n", "http failure 503"},
		{"in no list", "HTTP/1.1 201 Created\r\n\r\n", "silent 201"},
		{"HTTP/1.0, and no reason", "HTTP/1.0 200\r\n\r\n", "success 200"},
		{"informational responses come first", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "success 200"},
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "http failure"},
		{"no number", "HTTP/1.1 OK\r\n\r\n", "http failure"},
		{"four digits", "HTTP/1.1 2000 OK\r\n\r\n", "http failure"},
		{"endless line", strings.Repeat("x", 5000) + "\r\n", "http failure"},
		{"closed without an answer", "", "tcp failure"},
		{"closed within the line", "HTTP/1.1 20", "tcp failure"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serveTCP(t, func(c net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					io.WriteString(c, tt.answer)
				}
			})
			if got := describe(ask(t, checked("http", nil), nil, s.addr, "127.0.0.1")); got != tt.want {
				t.Errorf("%q: got %s, want %s", tt.answer, got, tt.want)
			}
		})
	}
}

func TestProbe_whatIsSent(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*entity.Upstream)
		host string
		want string
	}{
		{"the target's own name, without a port", nil, "a.test", "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"},
		{"IPv6", nil, "::1", "GET / HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n"},
		{"host_header, path and headers", func(u *entity.Upstream) {
			u.HostHeader = "shop.test:8443"
			u.Healthchecks.Active.HTTPPath = "/health?deep=1"
			u.Healthchecks.Active.Headers = map[string][]string{"x-probe": {"a", "b"}, "Bad": {"1\r\nX: 2"}}
		}, "a.test", "GET /health?deep=1 HTTP/1.1\r\nHost: shop.test:8443\r\nConnection: close\r\nX-Probe: a\r\nX-Probe: b\r\n\r\n"},
		{"a Host among the headers wins", func(u *entity.Upstream) {
			u.Healthchecks.Active.Headers = map[string][]string{"Host": {"b.test"}}
		}, "a.test", "GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n"},
		{"a path cannot end the line", func(u *entity.Upstream) {
			u.Healthchecks.Active.HTTPPath = "/a b\r\nX: y"
		}, "a.test", "GET /a%20b%0D%0AX:%20y HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := make(chan string, 1)
			s := serveTCP(t, func(c net.Conn) {
				var text strings.Builder
				for r := bufio.NewReader(c); !strings.HasSuffix(text.String(), "\r\n\r\n"); {
					line, err := r.ReadString('\n')
					if err != nil {
						break
					}
					text.WriteString(line)
				}
				got <- text.String()
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			})
			ask(t, checked("http", tt.set), nil, s.addr, tt.host)
			if sent := <-got; sent != tt.want {
				t.Errorf("got  %q\nwant %q", sent, tt.want)
			}
		})
	}
}

func TestProbe_nobodyThere(t *testing.T) {
	for _, kind := range []string{"http", "https", "tcp", "grpc", "grpcs"} {
		s := serveTCP(t, func(net.Conn) {})
		s.kill()
		if got := describe(ask(t, checked(kind, nil), nil, s.addr, "a.test")); got != "tcp failure" {
			t.Errorf("%s: got %s", kind, got)
		}
	}
}

// A target that accepts and never answers is one thing for TCP, and another for
// all that is spoken over it.
func TestProbe_acceptsAndNeverAnswers(t *testing.T) {
	s := serveTCP(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for kind, want := range map[string]string{"tcp": "success", "http": "timeout", "https": "timeout", "grpc": "timeout", "grpcs": "timeout"} {
		u := checked(kind, func(u *entity.Upstream) {
			if kind != "tcp" {
				u.Healthchecks.Active.Timeout = 0.05
			}
		})
		if got := describe(ask(t, u, nil, s.addr, "a.test")); got != want {
			t.Errorf("%s: got %s, want %s", kind, got, want)
		}
	}
}

func TestProbe_endsWithItsContext(t *testing.T) {
	s := serveTCP(t, func(c net.Conn) { io.Copy(io.Discard, c) })
	for _, kind := range []string{"http", "https", "grpc"} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan bool)
		go func() {
			newProbe(&balancer.Plan{Upstream: checked(kind, func(u *entity.Upstream) { u.Healthchecks.Active.Timeout = 3600 })}).ask(ctx, s.addr, "a.test", true)
			close(done)
		}()
		cancel()
		select {
		case <-done:
		case <-time.After(patient.Limit):
			t.Fatalf("%s: the probe goes on", kind)
		}
	}
}

func TestProbe_https(t *testing.T) {
	cert := certificate(t) // for example.com, by nobody that the system trusts
	names := make(chan string, 1)
	s := serveHTTP(t, func(http.ResponseWriter, *http.Request) {}, &tls.Config{
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			names <- h.ServerName
			return &cert, nil
		},
	})
	verify := func(on bool, sni, hostHeader string) *entity.Upstream {
		return checked("https", func(u *entity.Upstream) {
			u.HostHeader = hostHeader
			u.Healthchecks.Active.HTTPSVerifyCertificate = on
			u.Healthchecks.Active.HTTPSSNI = sni
		})
	}
	for _, tt := range []struct {
		name string
		u    *entity.Upstream
		host string
		want string
		sni  string
	}{
		{"not verified", verify(false, "", ""), "a.test", "success 200", "a.test"},
		{"verified, and not trusted", verify(true, "", ""), "a.test", "tcp failure", "a.test"},
		{"https_sni", verify(false, "sni.test", "host.test"), "a.test", "success 200", "sni.test"},
		{"host_header", verify(false, "", "host.test:8443"), "a.test", "success 200", "host.test"},
		{"an address is no server name", verify(false, "", ""), "127.0.0.1", "success 200", ""},
	} {
		if got := describe(ask(t, tt.u, nil, s.addr, tt.host)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
		if got := <-names; got != tt.sni {
			t.Errorf("%s: server name is %q, want %q", tt.name, got, tt.sni)
		}
	}
}

func TestProbe_clientCertificate(t *testing.T) {
	cert := certificate(t)
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
			w.WriteHeader(500)
		}
	}, &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, ClientCAs: x509.NewCertPool()})
	u := checked("https", nil)
	if got := describe(ask(t, u, &cert, s.addr, "a.test")); got != "success 200" {
		t.Errorf("with the upstream's certificate: %s", got)
	}
	if got := describe(ask(t, u, nil, s.addr, "a.test")); got != "http failure 500" {
		t.Errorf("without one: %s", got)
	}
}

func TestProbe_grpc(t *testing.T) {
	cert := certificate(t)
	for kind, c := range map[string]*tls.Certificate{"grpc": nil, "grpcs": &cert} {
		h := grpchealth.NewServer()
		s := serveGRPC(t, h, c)
		if got := describe(ask(t, checked(kind, nil), nil, s.addr, "a.test")); got != "success" {
			t.Errorf("%s: serving: %s", kind, got)
		}
		h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		if got := describe(ask(t, checked(kind, nil), nil, s.addr, "a.test")); got != "http failure" {
			t.Errorf("%s: not serving: %s", kind, got)
		}
		s = serveGRPC(t, nil, c)
		if got := describe(ask(t, checked(kind, nil), nil, s.addr, "a.test")); got != "http failure" {
			t.Errorf("%s: without the service: %s", kind, got)
		}
	}
	s := serveHTTP(t, func(http.ResponseWriter, *http.Request) {}, nil)
	if got := describe(ask(t, checked("grpc", nil), nil, s.addr, "a.test")); got != "tcp failure" {
		t.Errorf("a server of HTTP/1.1: %s", got)
	}
}

func TestProbe_keepsAwayFromPrivateListeners(t *testing.T) {
	s := serveHTTP(t, func(http.ResponseWriter, *http.Request) {}, nil)
	defer listen.MarkPrivate(netip.MustParseAddrPort(s.addr))()
	for _, kind := range []string{"http", "tcp", "grpc"} {
		f := ask(t, checked(kind, nil), nil, s.addr, "a.test")
		if describe(f) != "tcp failure" || !strings.Contains(f.err.Error(), dial.ErrPrivate.Error()) {
			t.Errorf("%s: %s: %v", kind, describe(f), f.err)
		}
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\n"))
	f.Add([]byte("HTTP/1.1 2000\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		n := parseStatus(line)
		if n == 0 {
			return
		}
		if n < 0 || n > 999 {
			t.Fatalf("%q: %d", line, n)
		}
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(strings.NewReader(string(line)), strings.NewReader("\r\n\r\n"))), nil)
		if err == nil && resp.StatusCode != n {
			t.Fatalf("%q: %d, and net/http says %d", line, n, resp.StatusCode)
		}
	})
}

func FuzzServingStatus(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x05\x12\x01a\x08\x02"))
	f.Fuzz(func(t *testing.T, body []byte) {
		status, ok := servingStatus(body)
		if len(body) < 5 || body[0] != 0 {
			if ok {
				t.Fatalf("%q was accepted", body)
			}
			return
		}
		if !ok {
			return
		}
		var want grpc_health_v1.HealthCheckResponse
		if proto.Unmarshal(body[5:], &want) == nil && int32(status) != int32(want.Status) {
			t.Fatalf("%q: got %d, protobuf says %d", body, status, want.Status)
		}
	})
}
