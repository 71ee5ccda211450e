package outlet

import (
	"context"
	"encoding/json"
	"net"
	"net/netip"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// TestSource_client has connections come from the client's address, which is not
// one of this host's. In a network namespace whose loopback interface takes in the
// answers, one host is enough.
func TestSource_client(t *testing.T) {
	host := netnstest.New(t).Gateway
	tr := new(Transport)
	if err := json.Unmarshal([]byte(`{"source": ["client", "10.77.1.1"]}`), tr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	if err := tr.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	defer tr.Cleanup()
	host.Exec("ip", "route", "add", "local", "198.51.100.0/24", "dev", "lo")
	host.Exec("ip", "-6", "route", "add", "local", "2001:db8:7::/48", "dev", "lo")
	for _, tt := range []struct{ name, to, client, want string }{
		{"the client's", "10.77.2.1:80", "198.51.100.7", "198.51.100.7"},
		{"the client's, IPv6", "[fd77:2::1]:80", "2001:db8:7::7", "2001:db8:7::7"},
		{"a client of the other family", "10.77.2.1:80", "2001:db8:7::7", "10.77.1.1"},
		{"a client written as IPv6", "10.77.2.1:80", "::ffff:198.51.100.8", "198.51.100.8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var l net.Listener
			var c net.Conn
			var err error
			host.Do(func() { // connections are made where a thread is
				if l, err = net.Listen("tcp", tt.to); err == nil {
					to := route{address: tt.to, client: netip.MustParseAddr(tt.client)}
					c, err = tr.dial(context.WithValue(t.Context(), routeKey{}, to), "tcp", "")
				}
			})
			if l != nil {
				defer l.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			seen, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer seen.Close()
			if from := seen.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap().String(); from != tt.want {
				t.Errorf("the server saw %s, want %s", from, tt.want)
			}
		})
	}
}
