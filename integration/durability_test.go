package integration

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// TestKill makes sure that a 201 is a promise: the process dies in the moment
// after it, and the entity is there afterwards.
func TestKill(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	behind := upstream(t, echo)

	p := h.start()
	p.admin("POST", "/services", `{"name":"orders","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/orders/routes", `{"name":"orders","paths":["/orders"]}`, 201)
	p.kill()

	p = h.start()
	p.admin("GET", "/routes/orders", "", 200)
	if got := p.get("/orders/1", 200).body; !strings.HasPrefix(got, "GET ") {
		t.Errorf("got %q from the upstream", got)
	}

	// and once more, now in the middle of many writes: whatever was answered
	// is there, and nothing is there in half
	answered := 0
	for i := range 20 {
		p.admin("POST", "/routes", fmt.Sprintf(`{"name":"r%d","paths":["/r%d"],"service":{"name":"orders"}}`, i, i), 201)
		answered++
	}
	p.kill()
	p = h.start()
	for i := range answered {
		p.get(fmt.Sprintf("/r%d", i), 200)
	}
}

// TestSecondProcess starts two gateways on one file.
func TestSecondProcess(t *testing.T) {
	t.Parallel()
	first := newHome(t, usual)
	first.start()

	file := filepath.Join(first.dir, "gateway.db")
	second := newHome(t, strings.ReplaceAll(usual, "{$HOME}/gateway.db", file))
	out, code := second.caddy("run", "--config", "gateway.caddyfile")
	if code == 0 {
		t.Error("the second process ended without an error")
	}
	if !strings.Contains(out, file) || !strings.Contains(out, "another process") {
		t.Errorf("the second process does not say that %s is open in another process:\n%s", file, out)
	}
}
