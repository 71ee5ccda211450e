package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/listen"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// pool makes an upstream with the name and targets given, and a route to it.
func (g *gatewayTest) pool(service schema.Object, targets ...string) {
	g.t.Helper()
	g.insert("upstreams", schema.Object{"name": "pool.internal"})
	for _, target := range targets {
		g.insert("targets", schema.Object{"upstream": schema.Object{"name": "pool.internal"}, "target": target})
	}
	service["host"] = "pool.internal"
	g.route(service, schema.Object{})
}

// rude accepts connections and does with each what f says, then closes it.
func rude(t testing.TB, f func(net.Conn)) (address string, accepted *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			f(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String(), accepted
}

// hangUp reads a request's head and hangs up.
func hangUp(c net.Conn) {
	_, _ = http.ReadRequest(bufio.NewReader(c))
}

func TestForward_roundRobinOverTargets(t *testing.T) {
	g := start(t, gateway.Settings{})
	var hits [2]atomic.Int64
	var addresses []string
	for i := range hits {
		s := upstream(t, func(w http.ResponseWriter, r *http.Request) { hits[i].Add(1) })
		addresses = append(addresses, s.Listener.Addr().String())
	}
	g.pool(schema.Object{}, addresses...)
	for range 10 {
		g.get("/")
	}
	if a, b := hits[0].Load(), hits[1].Load(); a != 5 || b != 5 {
		t.Errorf("got %d and %d requests, want 5 each", a, b)
	}
}

func TestForward_retries(t *testing.T) {
	dead := fmt.Sprintf("127.0.0.1:%d", ports.Dead(t))
	large := strings.Repeat("x", bufferSize+1)
	for _, tt := range []struct {
		name    string
		first   func(net.Conn) // nil: nobody listens
		method  string
		body    string
		retries int64
		route   schema.Object
		status  int
	}{
		{"refused", nil, "GET", "", 5, nil, 200},
		{"refused, POST was not sent", nil, "POST", "hello", 5, nil, 200},
		{"refused, large body was not begun", nil, "POST", large, 5, nil, 200},
		{"refused, no retries", nil, "GET", "", 0, nil, 502},
		{"hung up on GET", hangUp, "GET", "", 5, nil, 200},
		{"hung up on PUT with a small body", hangUp, "PUT", "hello", 5, nil, 200},
		{"hung up on PUT with a large body", hangUp, "PUT", large, 5, nil, 502},
		{"hung up on PUT without buffering", hangUp, "PUT", "hello", 5, schema.Object{"request_buffering": false}, 502},
		{"hung up on POST", hangUp, "POST", "hello", 5, nil, 502},
		{"hung up on PATCH", hangUp, "PATCH", "hello", 5, nil, 502},
		{"rubbish on GET", func(c net.Conn) { hangUp(c); _, _ = io.WriteString(c, "rubbish\r\n\r\n") }, "GET", "", 5, nil, 502},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			first := dead
			if tt.first != nil {
				first, _ = rude(t, tt.first)
			}
			good := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				_, _ = w.Write(b)
			})
			g.insert("upstreams", schema.Object{"name": "pool.internal"})
			for i, target := range []string{first, good.Listener.Addr().String()} {
				g.insert("targets", schema.Object{
					"id":       fmt.Sprintf("00000000-0000-0000-0000-00000000000%d", i+1), // the first is tried first
					"upstream": schema.Object{"name": "pool.internal"}, "target": target,
				})
			}
			route := schema.Object{}
			for k, v := range tt.route {
				route[k] = v
			}
			g.route(schema.Object{"host": "pool.internal", "retries": tt.retries}, route)
			resp, body := g.do(tt.method, "/", strings.NewReader(tt.body))
			wantStatus(t, resp, tt.status)
			if tt.status == 200 && body != tt.body {
				t.Errorf("got %d bytes of body, want %d", len(body), len(tt.body))
			}
			tried, gave := g.logged("try failed, trying again"), g.logged("upstream gave no response")
			if tt.status == 200 && (len(tried) != 1 || len(gave) != 0) || tt.status != 200 && (len(tried) != 0 || len(gave) != 1) {
				t.Errorf("logged %d failed tries and %d failures", len(tried), len(gave))
			}
			for _, e := range append(tried, gave...) {
				m := e.ContextMap()
				if m["target"] != first || m["upstream"] != "pool.internal" || m["route_id"] == nil || m["service_id"] == nil || m["error"] == nil {
					t.Errorf("log line lacks a field: %v", m)
				}
			}
		})
	}
}

func TestForward_neverRetriesAResponse(t *testing.T) {
	g := start(t, gateway.Settings{})
	var hits atomic.Int64
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		hits.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	g.route(to(up), schema.Object{})
	resp, body := g.get("/")
	wantStatus(t, resp, 503)
	if hits.Load() != 1 || body != "" {
		t.Errorf("%d requests, body %q: want one, and the upstream's own answer", hits.Load(), body)
	}
}

func TestForward_triesAtMostOneMoreThanRetries(t *testing.T) {
	g := start(t, gateway.Settings{})
	address, accepted := rude(t, hangUp)
	g.pool(schema.Object{"retries": int64(3)}, address)
	resp, _ := g.get("/")
	wantStatus(t, resp, 502)
	if n := accepted.Load(); n != 4 {
		t.Errorf("got %d tries, want 4", n)
	}
}

func TestForward_staleConnectionIsReplaced(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {})
	g.route(to(up, schema.Object{"retries": int64(0)}), schema.Object{})
	for range 5 {
		resp, _ := g.get("/")
		wantStatus(t, resp, 200)
		up.CloseClientConnections()
	}
}

func TestForward_timeouts(t *testing.T) {
	for _, tt := range []struct {
		name    string
		service schema.Object
		up      http.HandlerFunc
		status  int // 0: the connection breaks off
	}{
		{
			"no head", schema.Object{"read_timeout": int64(100), "retries": int64(0)},
			func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			504,
		},
		{
			"body stops", schema.Object{"read_timeout": int64(1000)},
			func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "half")
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			},
			0,
		},
		{
			"slow but steady", schema.Object{"read_timeout": int64(1500)},
			func(w http.ResponseWriter, r *http.Request) {
				for range 8 {
					_, _ = io.WriteString(w, "x")
					_ = http.NewResponseController(w).Flush()
					select {
					case <-time.After(300 * time.Millisecond):
					case <-r.Context().Done():
						return
					}
				}
			},
			200,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			g.route(to(upstream(t, tt.up), tt.service), schema.Object{})
			req, _ := http.NewRequest("GET", g.server.URL+"/", nil)
			req.Header.Set("Accept", "application/json")
			resp, err := plainClient(t).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if tt.status == 0 {
				if err == nil {
					t.Errorf("the body ended as if it were whole: %q", body)
				}
				return
			}
			wantStatus(t, resp, tt.status)
			if tt.status == 504 && message(string(body)) != "The upstream server is timing out" {
				t.Errorf("got %s", body)
			}
		})
	}
}

func TestForward_writeTimeout(t *testing.T) {
	g := start(t, gateway.Settings{})
	release := make(chan struct{})
	address, _ := rude(t, func(net.Conn) { <-release })
	defer close(release)
	g.pool(schema.Object{"write_timeout": int64(100), "retries": int64(0)}, address)
	resp, _ := g.do("POST", "/", io.LimitReader(zeros{}, 64<<20))
	wantStatus(t, resp, 504)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestForward_connectTimeout(t *testing.T) {
	// A listener that accepts nothing, with a full queue, answers no SYN.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	address, held := l.Addr().String(), []net.Conn{}
	defer func() {
		for _, c := range held {
			c.Close()
		}
	}()
	g := start(t, gateway.Settings{})
	d := destination{address: address, connect: 100 * time.Millisecond}
	x := exchange{Engine: g.engine, r: &http.Request{}, match: match("http")}
	for range 20_000 {
		c, err := net.DialTimeout("tcp", address, 50*time.Millisecond)
		if err != nil {
			break
		}
		held = append(held, c)
	}
	try := &try{dial: d, parent: t.Context()}
	_, err = dialPlain(try, "tcp", "")
	if err == nil {
		t.Skip("this system accepts more connections than the test can open")
	}
	if f := x.failureOf(try, err); f.status != 504 {
		t.Errorf("got status %d for %v, want 504", f.status, err)
	}
}

// names answers lookups from a map of names to addresses; an error is answered
// as it is.
type names map[string]any

func (n names) Lookup(_ context.Context, name string) (*dns.Answer, error) {
	switch a := n[name].(type) {
	case *dns.Answer:
		return a, nil
	case error:
		return nil, a
	}
	return nil, &dns.Error{Name: name, Reason: "name error", NotFound: true}
}

func TestForward_nameResolution(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.engine.resolver = names{"broken.test": &dns.Error{Name: "broken.test", Reason: "server failure"}}
	for _, tt := range []struct {
		host    string
		status  int
		message string
	}{
		{"nowhere.test", 503, "name resolution failed"},
		{"broken.test", 500, "failed the initial dns/balancer resolve for 'broken.test' with: server failure"},
	} {
		g.route(schema.Object{"host": tt.host}, schema.Object{"hosts": []any{tt.host}})
		resp, body := g.get("/", func(r *http.Request) { r.Host = tt.host })
		wantStatus(t, resp, tt.status)
		if !strings.Contains(body, `"message":"`+tt.message+`"`) {
			t.Errorf("%s: got %s, want %q", tt.host, body, tt.message)
		}
		if h := resp.Header; h.Get("X-Kong-Response-Latency") == "" || h.Get("Via") != "" {
			t.Errorf("%s: got %v, want an answer that no upstream had a part in", tt.host, h)
		}
	}
}

func TestForward_recordsOfANameTakeTurns(t *testing.T) {
	g := start(t, gateway.Settings{})
	var hits [2]atomic.Int64
	var records []dns.Record
	for i := range hits {
		s := upstream(t, func(w http.ResponseWriter, r *http.Request) { hits[i].Add(1); _, _ = io.WriteString(w, r.Host) })
		addr := s.Listener.Addr().(*net.TCPAddr).AddrPort()
		records = append(records, dns.Record{IP: addr.Addr(), Port: addr.Port(), Weight: 1 + 2*i, Name: "one.host.test"})
	}
	g.engine.resolver = names{"many.test": dns.NewAnswer("SRV", records, time.Now().Add(time.Hour))}
	g.route(schema.Object{"host": "many.test", "port": int64(1)}, schema.Object{})
	for range 8 {
		resp, body := g.get("/")
		wantStatus(t, resp, 200)
		if !strings.HasPrefix(body, "many.test:") {
			t.Errorf("the upstream saw the host %s", body)
		}
	}
	if a, b := hits[0].Load(), hits[1].Load(); a != 2 || b != 6 {
		t.Errorf("got %d and %d requests, want 2 and 6 by the weights", a, b)
	}
}

func TestForward_privateListenersAreOutOfReach(t *testing.T) {
	var hits atomic.Int64
	admin := upstream(t, func(w http.ResponseWriter, r *http.Request) { hits.Add(1) })
	defer listen.MarkPrivate(netip.MustParseAddrPort(admin.Listener.Addr().String()))()
	port := admin.Listener.Addr().(*net.TCPAddr).Port
	for _, tt := range []struct {
		host    string
		allowed bool
		status  int
	}{
		{"127.0.0.1", false, 502},
		{"localhost", false, 502},
		{"127.0.0.1", true, 200},
	} {
		g := start(t, gateway.Settings{AllowAdminUpstream: tt.allowed})
		g.route(schema.Object{"host": tt.host, "port": int64(port)}, schema.Object{})
		before := hits.Load()
		resp, _ := g.get("/")
		wantStatus(t, resp, tt.status)
		if reached := hits.Load() > before; reached != tt.allowed {
			t.Errorf("%s, allowed %t: reached %t", tt.host, tt.allowed, reached)
		}
		if lines := g.logged("upstream gave no response"); !tt.allowed && (len(lines) != 1 || lines[0].ContextMap()["service_id"] == nil) {
			t.Errorf("log says %v, want one line that names the service", lines)
		}
	}
}

func TestForward_clientThatLeavesCancelsTheUpstream(t *testing.T) {
	g := start(t, gateway.Settings{})
	arrived, cancelled := make(chan struct{}), make(chan struct{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-r.Context().Done()
		close(cancelled)
	})
	g.route(to(up), schema.Object{})
	c, _ := g.raw()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-arrived
	c.Close()
	select {
	case <-cancelled:
	case <-time.After(patient.Limit):
		t.Fatal("the upstream still works for nobody")
	}
	if lines := g.logged("upstream gave no response"); len(lines) != 0 {
		t.Errorf("logged as the upstream's fault: %v", lines)
	}
}

func TestForward_connectionsAreReusedAcrossEngines(t *testing.T) {
	from := make(chan string, 2)
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) { from <- r.RemoteAddr })
	old := start(t, gateway.Settings{})
	old.route(to(up), schema.Object{})
	old.get("/")
	next := start(t, gateway.Settings{})
	next.route(to(up), schema.Object{})
	old.engine.Close()
	next.get("/")
	if a, b := <-from, <-from; a != b {
		t.Error("the second engine opened a connection of its own")
	}
}
