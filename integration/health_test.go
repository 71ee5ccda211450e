package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// healthOf is what the Admin API says of the targets of an upstream.
func healthOf(p *process, upstream, target string) string {
	body := p.admin("GET", "/upstreams/"+upstream+"/health", "", 200).body
	_, rest, ok := strings.Cut(body, `"target":"`+target+`"`)
	if !ok {
		p.t.Fatalf("%s is no target: %s", target, body)
	}
	_, rest, _ = strings.Cut(rest, `"health":"`)
	health, _, _ := strings.Cut(rest, `"`)
	return health
}

// TestHealth_passive has a target that answers 500: after as many as it takes
// no client sees one any more, across reloads, until someone says otherwise.
func TestHealth_passive(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	var storm atomic.Bool
	storm.Store(true)
	good := upstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "good") })
	bad := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if storm.Load() {
			w.WriteHeader(500)
		}
		io.WriteString(w, "bad")
	})
	goodAddr, badAddr := good.Listener.Addr().String(), bad.Listener.Addr().String()
	p := h.start()
	p.admin("POST", "/upstreams", `{"name":"pool","healthchecks":{"passive":{"unhealthy":{"http_failures":3,"tcp_failures":2}}}}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"`+goodAddr+`"}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"`+badAddr+`"}`, 201)
	p.admin("POST", "/services", `{"name":"s","host":"pool"}`, 201)
	p.admin("POST", "/services/s/routes", `{"paths":["/"]}`, 201)

	failed := 0
	for range 40 {
		if a := do(t, "GET", "http://"+p.addr("PROXY")+"/", ""); a.status == 500 {
			failed++
		}
	}
	if failed != 3 {
		t.Errorf("%d requests failed before the target was unhealthy, want 3", failed)
	}
	if got := healthOf(p, "pool", badAddr) + " " + healthOf(p, "pool", goodAddr); got != "UNHEALTHY HEALTHY" {
		t.Errorf("the Admin API says %s", got)
	}
	patient.Until(t, "the log tells that and why the target became unhealthy", func() bool {
		log := p.log.String()
		return strings.Contains(log, "target became unhealthy") && strings.Contains(log, `"reason":"traffic"`)
	})

	storm.Store(false)
	p.reload()
	for range 10 {
		if a := p.get("/", 200); a.body != "good" {
			t.Fatal("a reload sent traffic to the unhealthy target")
		}
	}
	p.admin("POST", "/plugins", `{"name":"prometheus","config":{"upstream_health_metrics":true}}`, 201)
	metrics := p.admin("GET", "/metrics", "", 200).body
	if want := fmt.Sprintf(`kong_upstream_target_health{address=%q,state="unhealthy",subsystem="http",target=%q,upstream="pool"} 1`, badAddr, badAddr); !strings.Contains(metrics, want) {
		t.Errorf("the metrics lack %s", want)
	}
	p.admin("PUT", "/upstreams/pool/targets/"+badAddr+"/healthy", "", 204)
	seen := map[string]bool{}
	for range 10 {
		seen[p.get("/", 200).body] = true
	}
	if !seen["bad"] {
		t.Error("the target was set healthy and gets no traffic")
	}

	p.admin("PUT", "/upstreams/pool/targets/"+badAddr+"/"+badAddr+"/unhealthy", "", 204)
	p.admin("PUT", "/upstreams/pool/targets/"+goodAddr+"/unhealthy", "", 204)
	if a := p.get("/", 503); !strings.Contains(a.body, "failure to get a peer from the ring-balancer") {
		t.Errorf("with no healthy target: %s", a.body)
	}
}

// TestHealth_activeAcrossReloads has a target that is probed while
// configurations come and go: never twice as often, and it keeps what is known.
func TestHealth_activeAcrossReloads(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	var well atomic.Bool
	well.Store(true)
	var asked atomic.Int64
	target := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/probe" {
			return
		}
		asked.Add(1)
		if !well.Load() {
			w.WriteHeader(500)
		}
	})
	addr := target.Listener.Addr().String()
	p := h.start()
	p.admin("POST", "/upstreams", `{"name":"pool","healthchecks":{"active":{"http_path":"/probe",
		"healthy":{"interval":0.2,"successes":1},"unhealthy":{"interval":0.2,"http_failures":1}}}}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"`+addr+`"}`, 201)
	p.admin("POST", "/services", `{"name":"s","host":"pool"}`, 201)
	p.admin("POST", "/services/s/routes", `{"paths":["/"]}`, 201)

	patient.Until(t, "a probe", func() bool { return asked.Load() > 0 })
	start, before := time.Now(), asked.Load()
	for range 5 {
		p.reload()
	}
	patient.Until(t, "probes after the reloads", func() bool { return asked.Load() > before+10 })
	if n, most := asked.Load()-before, int64(time.Since(start)/(190*time.Millisecond))+2; n > most {
		t.Errorf("%d probes within %v at an interval of 0.2 s", n, time.Since(start))
	}

	well.Store(false)
	patient.Until(t, "unhealthy", func() bool { return healthOf(p, "pool", addr) == "UNHEALTHY" })
	p.get("/", 503)
	p.reload()
	if got := healthOf(p, "pool", addr); got != "UNHEALTHY" {
		t.Errorf("after a reload it is %s", got)
	}
	p.get("/", 503)
	well.Store(true)
	patient.Until(t, "healthy", func() bool { return healthOf(p, "pool", addr) == "HEALTHY" })
	p.get("/", 200)

	p.admin("DELETE", "/upstreams/pool", "", 204)
	last := int64(-1)
	patient.Until(t, "the end of the probes", func() bool {
		now := asked.Load()
		still := now == last
		last = now
		time.Sleep(500 * time.Millisecond)
		return still
	})
}

// TestHealth_hangingTarget accepts connections and never answers: as many
// requests time out as it takes, then no more.
func TestHealth_hangingTarget(t *testing.T) {
	t.Parallel()
	h := newHome(t, usual)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // its connections wait in the backlog
	good := upstream(t, echo)
	p := h.start()
	p.admin("POST", "/upstreams", `{"name":"pool","healthchecks":{"passive":{"unhealthy":{"timeouts":2}}}}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"`+l.Addr().String()+`"}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"`+good.Listener.Addr().String()+`"}`, 201)
	p.admin("POST", "/services", `{"name":"s","host":"pool","read_timeout":3000,"retries":1}`, 201)
	p.admin("POST", "/services/s/routes", `{"paths":["/"]}`, 201)
	for range 20 {
		p.get("/", 200) // the retry goes to the other target
	}
	if got := healthOf(p, "pool", l.Addr().String()); got != "UNHEALTHY" {
		t.Errorf("the target that hangs is %s", got)
	}
	p.stop()
	if n := strings.Count(p.log.String(), "try failed, trying again"); n != 2 {
		t.Errorf("%d tries timed out, want 2", n)
	}
}
