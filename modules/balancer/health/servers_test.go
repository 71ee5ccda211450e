package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/portcullis-gateway/portcullis/modules/ports"
)

// A mortal is a server at one address that can be killed and come back.
type mortal struct {
	t    testing.TB
	addr string
	run  func(net.Listener) (stop func())

	mu   sync.Mutex
	stop func()
}

func newMortal(t testing.TB, run func(net.Listener) func()) *mortal {
	t.Helper()
	m := &mortal{t: t, addr: fmt.Sprintf("127.0.0.1:%d", ports.Free(t)), run: run}
	m.rise()
	t.Cleanup(m.kill)
	return m
}

func (m *mortal) rise() {
	m.t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		m.t.Fatal(err)
	}
	m.addr = l.Addr().String()
	m.stop = m.run(l)
}

func (m *mortal) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

// certificate is httptest's, which is for example.com and 127.0.0.1.
func certificate(t testing.TB) tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return s.TLS.Certificates[0]
}

func serveHTTP(t testing.TB, h http.HandlerFunc, config *tls.Config) *mortal {
	return newMortal(t, func(l net.Listener) func() {
		if config != nil {
			l = tls.NewListener(l, config)
		}
		s := &http.Server{Handler: h, ErrorLog: quiet}
		go s.Serve(l)
		return func() { s.Close() }
	})
}

// serveTCP accepts connections, and hands them to f.
func serveTCP(t testing.TB, f func(net.Conn)) *mortal {
	return newMortal(t, func(l net.Listener) func() {
		var tasks sync.WaitGroup
		ctx, cancel := context.WithCancel(context.Background())
		tasks.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				tasks.Go(func() {
					defer c.Close()
					defer context.AfterFunc(ctx, func() { c.Close() })()
					f(c)
				})
			}
		})
		return func() {
			l.Close()
			cancel()
			tasks.Wait()
		}
	})
}

// serveGRPC has the health service of grpc-go; nil leaves it out.
func serveGRPC(t testing.TB, h *grpchealth.Server, cert *tls.Certificate) *mortal {
	return newMortal(t, func(l net.Listener) func() {
		var options []grpc.ServerOption
		if cert != nil {
			options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(cert)))
		}
		s := grpc.NewServer(options...)
		if h != nil {
			grpc_health_v1.RegisterHealthServer(s, h)
		}
		go s.Serve(l)
		return s.Stop
	})
}

func describe(f finding) string {
	if f.silent {
		return fmt.Sprintf("silent %d", f.status)
	}
	if f.status != 0 {
		return fmt.Sprintf("%s %d", f.kind, f.status)
	}
	return f.kind.String()
}

func tlsConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}
