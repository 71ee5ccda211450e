package http1

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"
)

// testTLS is the TLS of a server that is called localhost.
func testTLS(t testing.TB) *tls.Config {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}}
}

// Over TLS the connection can only be watched by reading from it: what was read
// that way is not lost.
func TestServer_watchesTLS(t *testing.T) {
	ended := make(chan error, 1)
	arrived := make(chan struct{})
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done := r.Context().Done()
		if r.URL.Path != "/wait" {
			_, _ = io.WriteString(w, r.URL.Path)
			return
		}
		close(arrived)
		select {
		case <-done:
			ended <- r.Context().Err()
		case <-time.After(patience):
			ended <- nil
		}
	})}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = s.Serve(tls.NewListener(ln, testTLS(t)))
	}()
	defer func() { s.Close(); <-over }()
	tcp, _ := dial(t, ln.Addr().String())
	c := tls.Client(tcp, &tls.Config{InsecureSkipVerify: true})
	r := bufio.NewReader(c)
	read := func(want string) {
		t.Helper()
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, _ := io.ReadAll(resp.Body); string(body) != want {
			t.Fatalf("got %q, want %q", body, want)
		}
	}
	for i := range 20 {
		fmt.Fprintf(c, "GET /%d HTTP/1.1\r\nHost: x\r\n\r\nGET /%d/next HTTP/1.1\r\nHost: x\r\n\r\n", i, i)
		read(fmt.Sprintf("/%d", i))
		read(fmt.Sprintf("/%d/next", i))
	}
	fmt.Fprint(c, "GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	tcp.Close()
	if err := <-ended; err != context.Canceled {
		t.Errorf("got %v, want context canceled", err)
	}
}
