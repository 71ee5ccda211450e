package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// An authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial atomic.Int64

// issue makes a certificate; a nil signer signs itself.
func issue(t testing.TB, signer *authority, name string, ca bool) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial.Add(1)),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: ca, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ca {
		template.KeyUsage |= x509.KeyUsageCertSign
	} else {
		template.DNSNames = []string{name}
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	parent := &authority{template, key}
	if signer != nil {
		parent = signer
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) certPEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}))
}

func (a *authority) keyPEM(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// secureUpstream runs an HTTPS server that shows a chain, and tells what it
// saw of the client.
func secureUpstream(t testing.TB, leaf *authority, chain ...*authority) *httptest.Server {
	t.Helper()
	c := tls.Certificate{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}
	for _, a := range chain {
		c.Certificate = append(c.Certificate, a.cert.Raw)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		fmt.Fprintf(w, "%s sni=%s client=%s", r.Proto, r.TLS.ServerName, client)
	}))
	s.Config.ErrorLog = quiet
	s.TLS = &tls.Config{Certificates: []tls.Certificate{c}, ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func TestTLS_verification(t *testing.T) {
	root := issue(t, nil, "root", true)
	between := issue(t, root, "between", true)
	leaf := issue(t, root, "api.test", false)
	deep := issue(t, between, "api.test", false)
	stranger := issue(t, nil, "stranger", true)

	direct := secureUpstream(t, leaf)
	chained := secureUpstream(t, deep, between)
	for _, tt := range []struct {
		name   string
		to     *httptest.Server
		node   gateway.Settings
		with   schema.Object
		cas    []*authority
		host   string
		status int
	}{
		{"not verified by default", direct, gateway.Settings{}, nil, nil, "other.test", 200},
		{"verified by the node's default", direct, gateway.Settings{ProxySSLVerify: true}, nil, nil, "api.test", 502},
		{"the service overrules the node", direct, gateway.Settings{ProxySSLVerify: true}, schema.Object{"tls_verify": false}, nil, "api.test", 200},
		{"right authority", direct, gateway.Settings{}, schema.Object{"tls_verify": true}, []*authority{root}, "api.test", 200},
		{"one of two authorities", direct, gateway.Settings{}, schema.Object{"tls_verify": true}, []*authority{stranger, root}, "api.test", 200},
		{"wrong authority", direct, gateway.Settings{}, schema.Object{"tls_verify": true}, []*authority{stranger}, "api.test", 502},
		{"no authority of ours", direct, gateway.Settings{}, schema.Object{"tls_verify": true}, nil, "api.test", 502},
		{"wrong name", direct, gateway.Settings{}, schema.Object{"tls_verify": true}, []*authority{root}, "other.test", 502},
		{"intermediate within the default depth", chained, gateway.Settings{}, schema.Object{"tls_verify": true}, []*authority{root}, "api.test", 200},
		{"intermediate beyond the depth", chained, gateway.Settings{}, schema.Object{"tls_verify": true, "tls_verify_depth": int64(0)}, []*authority{root}, "api.test", 502},
		{"no intermediate needs no depth", direct, gateway.Settings{}, schema.Object{"tls_verify": true, "tls_verify_depth": int64(0)}, []*authority{root}, "api.test", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, tt.node)
			var ids []any
			for _, ca := range tt.cas {
				ids = append(ids, g.insert("ca_certificates", schema.Object{"cert": ca.certPEM()}))
			}
			service := to(tt.to, tt.with)
			if ids != nil {
				service["ca_certificates"] = ids
			}
			// The client's Host becomes the server name.
			g.route(service, schema.Object{"preserve_host": true})
			resp, body := g.get("/", func(r *http.Request) { r.Host = tt.host })
			wantStatus(t, resp, tt.status)
			if want := "HTTP/1.1 sni=" + tt.host + " client=nobody"; tt.status == 200 && body != want {
				t.Errorf("got %q, want %q", body, want)
			}
		})
	}
}

func TestTLS_clientCertificate(t *testing.T) {
	server := secureUpstream(t, issue(t, nil, "api.test", false))
	g := start(t, gateway.Settings{})
	insert := func(name string) schema.Object {
		c := issue(t, nil, name, false)
		return schema.Object{"id": g.insert("certificates", schema.Object{"cert": c.certPEM(), "key": c.keyPEM(t)})}
	}
	one, two, upstreams := insert("one"), insert("two"), insert("upstream's")
	g.insert("upstreams", schema.Object{"name": "pool.internal", "client_certificate": upstreams})
	g.insert("targets", schema.Object{"upstream": schema.Object{"name": "pool.internal"}, "target": server.Listener.Addr().String()})
	pool := schema.Object{"host": "pool.internal", "protocol": "https"}
	for path, service := range map[string]schema.Object{
		"/nobody":     to(server),
		"/one":        to(server, schema.Object{"client_certificate": one}),
		"/two":        to(server, schema.Object{"client_certificate": two}),
		"/upstream's": pool,
	} {
		g.route(service, schema.Object{"paths": []any{path}})
	}
	for range 2 { // the second time over connections that are kept
		for _, name := range []string{"nobody", "one", "two", "upstream's"} {
			if _, body := g.get("/" + name); !strings.HasSuffix(body, "client="+name) {
				t.Errorf("/%s: the upstream saw %q", name, body)
			}
		}
	}
}

// grpcEcho answers as a gRPC server that sends each message back.
func grpcEcho(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	control := http.NewResponseController(w)
	_ = control.Flush()
	buf := make([]byte, 64)
	for {
		n, err := r.Body.Read(buf)
		_, _ = w.Write(buf[:n])
		_ = control.Flush()
		if err != nil {
			break
		}
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
}

func TestGRPC_bothWaysWithTrailers(t *testing.T) {
	for _, secure := range []bool{false, true} {
		g := start(t, gateway.Settings{})
		service := to(serveHTTP(t, http.HandlerFunc(grpcEcho), secure))
		service["protocol"] = map[bool]string{false: "grpc", true: "grpcs"}[secure]
		g.route(service, schema.Object{"protocols": []any{"grpc"}, "paths": []any{"/pkg.Echo/"}})
		in, out := io.Pipe()
		defer out.Close()
		req, _ := http.NewRequest("POST", g.server.URL+"/pkg.Echo/Stream", in)
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		first := make(chan struct{})
		go func() {
			_, _ = io.WriteString(out, "one")
			<-first
			_, _ = io.WriteString(out, "two")
			out.Close()
		}()
		resp, err := h2cClient(t).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		wantStatus(t, resp, 200)
		b := make([]byte, 3)
		if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != "one" {
			t.Fatalf("secure %t: got %q, %v", secure, b, err)
		}
		close(first)
		rest, err := io.ReadAll(resp.Body)
		if err != nil || string(rest) != "two" {
			t.Errorf("secure %t: got %q, %v", secure, rest, err)
		}
		if got := resp.Trailer.Get("Grpc-Status"); got != "0" {
			t.Errorf("secure %t: grpc-status %q, want 0", secure, got)
		}
		if got := resp.Header.Get("Via"); got != "2 kong/3.9.1" {
			t.Errorf("secure %t: Via %q", secure, got)
		}
	}
}

func TestGRPC_upstreamWithoutHTTP2(t *testing.T) {
	g := start(t, gateway.Settings{})
	s := secureUpstream(t, issue(t, nil, "api.test", false))
	g.route(to(s, schema.Object{"protocol": "grpcs", "retries": int64(0)}), schema.Object{"protocols": []any{"grpc"}, "paths": []any{"/"}})
	req, _ := http.NewRequest("POST", g.server.URL+"/pkg.Echo/Stream", strings.NewReader("x"))
	req.Header.Set("Content-Type", "application/grpc")
	resp, _ := send(t, h2cClient(t), req)
	wantStatus(t, resp, 502)
	if got := resp.Header.Get("Grpc-Status"); got != "13" {
		t.Errorf("grpc-status %q, want 13", got)
	}
}

func TestDial_authorityTellsIdentitiesApart(t *testing.T) {
	plain := destination{address: "a:80", guarded: true}
	seen := map[string]string{}
	for name, d := range map[string]destination{
		"plain":        plain,
		"unguarded":    {address: "a:80"},
		"elsewhere":    {address: "b:80", guarded: true},
		"tls":          {address: "a:80", guarded: true, tls: &dial.TLS{}},
		"server name":  {address: "a:80", guarded: true, tls: &dial.TLS{ServerName: "x"}},
		"verified":     {address: "a:80", guarded: true, tls: &dial.TLS{Verify: true}},
		"depth":        {address: "a:80", guarded: true, tls: &dial.TLS{Verify: true, Depth: 1}},
		"certificates": {address: "a:80", guarded: true, tls: &dial.TLS{Key: "k"}},
	} {
		a := d.authority()
		if other, ok := seen[a]; ok {
			t.Errorf("%s and %s share %s", name, other, a)
		}
		seen[a] = name
	}
	if plain.authority() != "a:80" {
		t.Errorf("got %s", plain.authority())
	}
}
