package integration

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// gRPC, in the clear and over TLS, goes on to where it wanted to go with its
// client's address, and the log says how it came.
func TestTransparent_grpcToTheOriginalDestination(t *testing.T) {
	i := intercept(t, matrixFile)
	i.Gateway.RouteMarked("1", "100")
	i.Gateway.Nft(ways[0].rules)
	i.Gateway.Nft(returnPath)
	pair := &selfsigned.New("server", "example.com").Certificate
	for _, tt := range []struct {
		protocol string
		port     uint16
		server   []grpc.ServerOption
		client   credentials.TransportCredentials
	}{
		{"grpc", 80, nil, insecure.NewCredentials()},
		{"grpcs", 443, []grpc.ServerOption{grpc.Creds(credentials.NewServerTLSFromCert(pair))}, credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})},
	} {
		i.write("services", map[string]any{
			"name": tt.protocol, "protocol": tt.protocol, "host": "original_destination", "port": 0, "source_addresses": []string{"client"},
		})
		i.write("services/"+tt.protocol+"/routes", map[string]any{
			"name": tt.protocol, "protocols": []string{tt.protocol}, "paths": []string{"/test.Echo/"}, "destinations": []any{map[string]any{"port": tt.port}},
		})
		for name, ip := range map[string]netip.Addr{"v4": netnstest.Server4, "v6": netnstest.Server6} {
			t.Run(tt.protocol+" "+name, func(t *testing.T) {
				at := netip.AddrPortFrom(ip, tt.port)
				peers := make(chan netip.Addr, 8)
				s := grpc.NewServer(tt.server...)
				s.RegisterService(&echoService, new(any))
				go s.Serve(&watchedListener{listenOn(t, i.Server, at), peers})
				defer s.Stop()

				dial := func(ctx context.Context, address string) (c net.Conn, err error) {
					i.Client.Do(func() { c, err = new(net.Dialer).DialContext(ctx, "tcp", address) })
					return c, err
				}
				conn, err := grpc.NewClient("passthrough:///"+at.String(), grpc.WithTransportCredentials(tt.client), grpc.WithContextDialer(dial))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				before, out := len(i.log.String()), new(text)
				if err := conn.Invoke(ctx, "/test.Echo/Say", &text{Value: "word"}, out); err != nil || out.Value != "word" {
					t.Fatalf("got %q, %v", out.GetValue(), err)
				}
				client := netnstest.Client4
				if ip.Is6() {
					client = netnstest.Client6
				}
				if seen := <-peers; seen != client {
					t.Errorf("the server saw %s, not the client %s", seen, client)
				}
				if line := i.lineAfter(t, before, tt.protocol); line.Arrived != "tproxy" || line.Destination != at.String() {
					t.Errorf("got the log line %+v", line)
				}
			})
		}
	}
}

// A watchedListener tells whom it has accepted.
type watchedListener struct {
	net.Listener
	peers chan<- netip.Addr
}

func (l *watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.peers <- c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	}
	return c, err
}
