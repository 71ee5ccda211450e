package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// TestReload_losesNothing reloads fifty times while clients talk to the proxy,
// plain and with TLS, on kept connections and on new ones.
func TestReload_losesNothing(t *testing.T) {
	h := newHome(t, usual)
	behind := upstream(t, echo)
	p := h.start()
	p.admin("POST", "/services", `{"name":"orders","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/orders/routes", `{"name":"orders","paths":["/orders"]}`, 201)

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var load sync.WaitGroup
	var requests atomic.Int64
	answered := make(chan struct{}, 1)
	for _, kind := range []struct {
		name, url string
		transport *http.Transport
	}{
		{"kept", "http://" + p.addr("PROXY"), &http.Transport{}},
		{"new", "http://" + p.addr("PROXY"), &http.Transport{DisableKeepAlives: true}},
		{"HTTP/2", "https://" + p.addr("PROXY_SSL"), &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
		{"new with TLS", "https://" + p.addr("PROXY_SSL"), &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}},
	} {
		for n := range 2 {
			load.Add(1)
			go func() {
				defer load.Done()
				client := &http.Client{Transport: kind.transport.Clone(), Timeout: patience}
				defer client.CloseIdleConnections()
				for i := 0; ctx.Err() == nil; i++ {
					// a body makes a POST that no client repeats on its own
					resp, err := client.Post(fmt.Sprintf("%s/orders/%d/%d", kind.url, n, i), "text/plain", strings.NewReader("x"))
					if err != nil {
						t.Errorf("%s connections, request %d: %v", kind.name, i, err)
						return
					}
					body, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || resp.StatusCode != 200 {
						t.Errorf("%s connections, request %d: %d %s, %v", kind.name, i, resp.StatusCode, body, err)
						return
					}
					requests.Add(1)
					select {
					case answered <- struct{}{}:
					default:
					}
				}
			}()
		}
	}

	const reloads = 50
	for range reloads {
		p.reload()
		select { // every configuration serves for a while
		case <-answered:
		case <-time.After(patience):
			t.Fatal("no request was answered any more")
		}
	}
	stop()
	load.Wait()
	t.Logf("%d requests during %d reloads", requests.Load(), reloads)
	p.admin("GET", "/routes/orders", "", 200)
}

// TestReload_keepsConnections holds a request open across a reload.
func TestReload_keepsConnections(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	arrived, answer := make(chan struct{}), make(chan struct{})
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-answer
		io.WriteString(w, "at last")
	})
	p := h.start()
	p.admin("POST", "/services", `{"name":"slow","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/slow/routes", `{"paths":["/slow"]}`, 201)

	conn, err := net.Dial("tcp", p.addr("PROXY"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET /slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	<-arrived
	p.reload()
	close(answer)
	all, err := io.ReadAll(conn)
	if err != nil || !strings.Contains(string(all), "at last") {
		t.Errorf("the answer after the reload: %q, %v", all, err)
	}
}

// TestReload_otherAddress moves the proxy to another port and back.
func TestReload_otherAddress(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	behind := upstream(t, echo)
	p := h.start()
	p.route("/", behind.URL)
	p.get("/", 200)

	h.write("gateway.caddyfile", strings.Replace(usual, "{$PROXY}", "{$SITE}", 1))
	p.reload()
	if a := do(t, "GET", "http://"+p.addr("SITE")+"/", ""); a.status != 200 {
		t.Errorf("on the new port: %d %s", a.status, a.body)
	}
	// the old port empties its queue before it closes
	patient.Until(t, "the old port accepts nobody", func() bool { return !accepts(p.addr("PROXY")) })

	h.write("gateway.caddyfile", usual)
	p.reload()
	p.get("/", 200)
}

// TestReload_brokenKeepsRunning loads a configuration that cannot be, and goes
// on with the one that runs.
func TestReload_brokenKeepsRunning(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	behind := upstream(t, echo)
	p := h.start()
	p.route("/", behind.URL)

	for name, broken := range map[string]string{
		"syntax":       strings.Replace(usual, "ssl http2", "ssl http9", 1),
		"port in use":  strings.Replace(usual, "{$PROXY_SSL}", strings.TrimPrefix(behind.Listener.Addr().String(), "127.0.0.1:"), 1),
		"unsafe admin": strings.Replace(usual, "admin_listen 127.0.0.1", "admin_listen 0.0.0.0", 1),
	} {
		h.write("gateway.caddyfile", broken)
		if out, code := h.caddy("reload", "--config", "gateway.caddyfile", "--force"); code == 0 {
			t.Errorf("%s: caddy reload accepted it:\n%s", name, out)
		}
		p.get("/", 200)
		p.admin("GET", "/services/a", "", 200)
	}
	h.write("gateway.caddyfile", usual)
	p.reload()
	p.get("/", 200)
}
