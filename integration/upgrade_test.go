package integration

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestReload_keepsUpgrades talks through an upgraded connection before and
// after a reload, and after the bind that it came in on is gone.
func TestReload_keepsUpgrades(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			http.Error(w, "no upgrade", http.StatusBadRequest)
			return
		}
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(conn, buffered) // an echo
	})
	p := h.start()
	p.route("/", behind.URL)

	conn, err := net.Dial("tcp", p.addr("PROXY"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	reader := bufio.NewReader(conn)
	resp, err := http.ReadResponse(reader, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade: %v, %v", resp, err)
	}
	say := func(word string) {
		t.Helper()
		io.WriteString(conn, word+"\n")
		if got, err := reader.ReadString('\n'); err != nil || got != word+"\n" {
			t.Fatalf("said %q, heard %q, %v", word, got, err)
		}
	}
	say("before")
	p.reload()
	say("after a reload")
	h.write("gateway.caddyfile", strings.Replace(usual, "{$PROXY}", "{$SITE}", 1))
	p.reload()
	say("after the bind is gone")
}
