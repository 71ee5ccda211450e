package stream

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/mholt/caddy-l4/layer4"
	_ "github.com/mholt/caddy-l4/modules/l4tls"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
)

// TestHandler runs caddy-l4's own app beside the gateway's: its routes hand
// connections over, after a look at their ClientHello and before.
func TestHandler(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	listening := []int{ports.Free(t), ports.Free(t), ports.Free(t), ports.Free(t)}
	server := func(i int, route string) string {
		return fmt.Sprintf(`{"listen":["127.0.0.1:%d"],"routes":[%s]}`, listening[i], route)
	}
	layer4 := fmt.Sprintf(`{"servers":{"plain":%s,"sealed":%s,"sni":%s,"ends":%s}}`,
		server(0, `{"handle":[{"handler":"gateway"}]}`),
		server(1, `{"handle":[{"handler":"gateway","ssl":true}]}`),
		server(2, `{"match":[{"tls":{"sni":["matched.example.com"]}}],"handle":[{"handler":"gateway","ssl":true}]}`),
		server(3, `{"handle":[{"handler":"gateway"}]}`))
	err := caddy.Run(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, t.TempDir())),
		AppsRaw: caddy.ModuleMap{
			"gateway": json.RawMessage(`{"store":{"driver":"memory"}}`),
			"layer4":  json.RawMessage(layer4),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	lender, err := gateway.From(caddy.ActiveContext())
	if err != nil {
		t.Fatal(err)
	}
	n, err := lender.Node()
	if err != nil {
		t.Fatal(err)
	}
	g := &gatewayTest{t: t, node: n}
	theirs := selfsigned.New("matched.example.com", "matched.example.com")
	sealed := serveTLS(t, &tls.Config{Certificates: []tls.Certificate{theirs.Certificate}}, echo("sealed"))
	g.route(service("tcp", serveTCP(t, echo("plain"))), schema.Object{"protocols": []any{"tcp"}, "destinations": []any{schema.Object{"port": int64(listening[0])}}})
	g.route(service("tcp", serveTCP(t, echo("ended"))), schema.Object{"protocols": []any{"tls"}, "snis": []any{"ended.example.com"}})
	g.route(service("tcp", sealed), schema.Object{"protocols": []any{"tls_passthrough"}, "snis": []any{"matched.example.com"}})

	rest := make(chan string, 1)
	ends := serveTCP(t, func(c net.Conn) {
		c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		rest <- string(b)
	})
	g.route(service("tcp", ends), schema.Object{"protocols": []any{"tcp"}, "destinations": []any{schema.Object{"port": int64(listening[3])}}})

	dial := func(i int) *net.TCPConn {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", listening[i]))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(patience))
		return c.(*net.TCPConn)
	}
	if got := ask(t, dial(0), "hello"); got != "plain:hello" {
		t.Errorf("plain: got %q", got)
	}
	if got := ask(t, tls.Client(dial(1), &tls.Config{ServerName: "ended.example.com", InsecureSkipVerify: true}), "hello"); got != "ended:hello" {
		t.Errorf("ended: got %q", got)
	}
	if got := ask(t, tls.Client(dial(2), &tls.Config{ServerName: "matched.example.com", RootCAs: theirs.Pool}), "hello"); got != "sealed:hello" {
		t.Errorf("passed: got %q", got)
	}
	c := dial(3)
	if b, err := io.ReadAll(c); len(b) > 0 || err != nil {
		t.Errorf("a service that ends first: got %q, %v", b, err)
	}
	if ask(t, c, "goes on"); <-rest != "goes on" {
		t.Error("what comes after the service's end is lost")
	}
}
