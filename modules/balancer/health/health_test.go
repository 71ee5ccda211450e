package health

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	grpchealth "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/patient"
)

func TestMain(m *testing.M) { patient.NoLeaks(m) }

// A world has pools with checks.
type world struct {
	*testing.T
	pools  *balancer.Pools
	checks *Checks
	logs   *observer.ObservedLogs
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, pools: balancer.NewPools(), checks: New()}
	t.Cleanup(func() {
		w.checks.Close()
		w.pools.Close()
	})
	w.pools.Watch(w.checks)
	core, logs := observer.New(zap.InfoLevel)
	w.checks.Use(Settings{Logger: zap.New(core), Guarded: true})
	w.logs = logs
	return w
}

// follow makes the upstream's pool what u and these targets say.
func (w *world) follow(u *entity.Upstream, addresses ...string) *balancer.Pool {
	w.Helper()
	var targets []*entity.Target
	for i, a := range addresses {
		targets = append(targets, &entity.Target{ID: uuid.UUID{9, byte(i)}, Target: a, Weight: 100})
	}
	plan, err := balancer.NewPlan(u, targets)
	if err != nil {
		w.Fatal(err)
	}
	p := w.pools.Of(u.ID)
	p.Follow(plan)
	return p
}

func peerOf(t testing.TB, p *balancer.Pool, address string) *balancer.Peer {
	t.Helper()
	for _, a := range p.Addresses() {
		if a.Text == address {
			return a.Peer
		}
	}
	t.Fatalf("the pool has no %s", address)
	return nil
}

// lively asks often, and believes the second answer.
func lively(u *entity.Upstream) {
	a := &u.Healthchecks.Active
	a.Healthy.Interval, a.Unhealthy.Interval = 0.01, 0.01
	a.Healthy.Successes = 2
	a.Unhealthy.TCPFailures, a.Unhealthy.Timeouts, a.Unhealthy.HTTPFailures = 2, 2, 2
}

// passive counts what traffic does.
func passive(u *entity.Upstream) {
	p := &u.Healthchecks.Passive
	p.Healthy.Successes = 2
	p.Unhealthy.TCPFailures, p.Unhealthy.Timeouts, p.Unhealthy.HTTPFailures = 2, 2, 3
}

func responded(status int) balancer.Outcome {
	return balancer.Outcome{Event: balancer.Responded, Status: status}
}

func TestActive_serversDieAndComeBack(t *testing.T) {
	cert := certificate(t)
	config := tlsConfig(cert)
	ok := func(http.ResponseWriter, *http.Request) {}
	for kind, s := range map[string]*mortal{
		"http":  serveHTTP(t, ok, nil),
		"https": serveHTTP(t, ok, config),
		"tcp":   serveTCP(t, func(c net.Conn) { io.Copy(io.Discard, c) }),
		"grpc":  serveGRPC(t, grpchealth.NewServer(), nil),
		"grpcs": serveGRPC(t, grpchealth.NewServer(), &cert),
	} {
		t.Run(kind, func(t *testing.T) {
			w := newWorld(t)
			p := w.follow(checked(kind, lively), s.addr)
			peer := peerOf(t, p, s.addr)
			for range 2 {
				s.kill()
				patient.Until(t, "unavailable after the server died", func() bool { return !peer.Available() && !p.Healthy() })
				s.rise()
				patient.Until(t, "available after the server came back", func() bool { return peer.Available() && p.Healthy() })
			}
		})
	}
}

func TestActive_statusesAndHangs(t *testing.T) {
	var status atomic.Int64
	status.Store(200)
	hang := make(chan bool)
	defer close(hang)
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if n := int(status.Load()); n > 0 {
			w.WriteHeader(n)
			return
		}
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}, nil)
	w := newWorld(t)
	peer := peerOf(t, w.follow(checked("http", func(u *entity.Upstream) {
		lively(u)
		u.Healthchecks.Active.Timeout = 1
	}), s.addr), s.addr)
	for _, bad := range []int64{500, 0, 404} {
		status.Store(bad)
		patient.Until(t, fmt.Sprintf("unavailable with status %d", bad), func() bool { return !peer.Available() })
		status.Store(200)
		patient.Until(t, "available again", peer.Available)
	}
	patient.Until(t, "the log says that it is healthy", func() bool { return w.logs.FilterMessage("target became healthy").Len() == 3 })
	var last []string
	for _, e := range w.logs.FilterMessage("target became unhealthy").All() {
		m := e.ContextMap()
		if m["upstream"] != "pool.internal" || m["target"] != s.addr || m["address"] != s.addr || m["reason"] != "probes" {
			t.Errorf("logged %v", m)
		}
		last = append(last, fmt.Sprint(m["last"], m["status"]))
	}
	if got := strings.Join(last, ", "); got != "http failure500, timeout<nil>, http failure404" {
		t.Errorf("reasons are %s", got)
	}
}

func TestGRPC_servingStatusDecides(t *testing.T) {
	h := grpchealth.NewServer()
	s := serveGRPC(t, h, nil)
	w := newWorld(t)
	peer := peerOf(t, w.follow(checked("grpc", lively), s.addr), s.addr)
	h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	patient.Until(t, "unavailable", func() bool { return !peer.Available() })
	h.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	patient.Until(t, "available", peer.Available)
}

func TestPassive_outcomes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		outcomes []balancer.Outcome
		want     bool
	}{
		{"failed connections", []balancer.Outcome{{Event: balancer.ConnectFailed}, {Event: balancer.ConnectFailed}}, false},
		{"timeouts", []balancer.Outcome{{Event: balancer.TimedOut}, {Event: balancer.TimedOut}}, false},
		{"a 504 is a timeout", []balancer.Outcome{responded(504), {Event: balancer.TimedOut}}, false},
		{"500s", []balancer.Outcome{responded(500), responded(503), responded(429)}, false},
		{"too few", []balancer.Outcome{responded(500), responded(503)}, true},
		{"in no list", []balancer.Outcome{responded(502), responded(502), responded(502), responded(404)}, true},
		{"a success in between", []balancer.Outcome{responded(500), responded(500), responded(200), responded(500), responded(500)}, true},
		{"a status in no list in between", []balancer.Outcome{responded(500), responded(500), responded(418), responded(500)}, false},
		{"a stream's connection in between", []balancer.Outcome{{Event: balancer.ConnectFailed}, {Event: balancer.Connected}, {Event: balancer.ConnectFailed}}, true},
		{"successes again", []balancer.Outcome{{Event: balancer.TimedOut}, {Event: balancer.TimedOut}, responded(200), responded(201)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			peer := peerOf(t, w.follow(checked("http", passive), "10.0.0.1:80"), "10.0.0.1:80")
			for _, o := range tt.outcomes {
				peer.Observed(o)
			}
			if peer.Available() != tt.want {
				t.Errorf("available is %t", peer.Available())
			}
		})
	}
}

func TestPassive_storm(t *testing.T) {
	w := newWorld(t)
	p := w.follow(checked("http", passive), "10.0.0.1:80", "10.0.0.2:80")
	peer := peerOf(t, p, "10.0.0.1:80")
	var storm sync.WaitGroup
	for range 8 {
		storm.Go(func() {
			for i := range 500 {
				peer.Observed(responded([]int{500, 500, 500, 200, 200}[i%5]))
				peer.Observed(balancer.Outcome{Event: balancer.ConnectFailed})
			}
		})
	}
	storm.Wait()
	for range 3 {
		peer.Observed(responded(500))
	}
	if peer.Available() || !p.Healthy() {
		t.Errorf("available is %t, pool healthy is %t", peer.Available(), p.Healthy())
	}
	for range 2 {
		peer.Observed(responded(200))
	}
	if !peer.Available() {
		t.Error("two successes do not end it")
	}
	if bad, good := w.logs.FilterMessage("target became unhealthy").Len(), w.logs.FilterMessage("target became healthy").Len(); bad != good || bad == 0 {
		t.Errorf("%d times unhealthy and %d times healthy in the log, which begins and ends healthy", bad, good)
	}
}

// Traffic brings a target down, and there is none that could bring it up again:
// that is the part of probes.
func TestPassive_probesBringItBack(t *testing.T) {
	s := serveHTTP(t, func(http.ResponseWriter, *http.Request) {}, nil)
	w := newWorld(t)
	peer := peerOf(t, w.follow(checked("http", func(u *entity.Upstream) {
		passive(u)
		u.Healthchecks.Active.Unhealthy.Interval = 0.01
		u.Healthchecks.Active.Healthy.Successes = 1
	}), s.addr), s.addr)
	for range 2 {
		peer.Observed(balancer.Outcome{Event: balancer.ConnectFailed})
	}
	patient.Until(t, "available", peer.Available)
	patient.Until(t, "two entries in the log", func() bool { return w.logs.Len() == 2 })
}

func TestThreshold(t *testing.T) {
	w := newWorld(t)
	u := checked("http", func(u *entity.Upstream) {
		passive(u)
		u.Healthchecks.Threshold = 50
	})
	p := w.follow(u, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80")
	for i, want := range []bool{true, false, false} {
		if err := w.checks.Set(p, uuid.UUID{9, byte(i)}, netip.AddrPort{}, false); err != nil {
			t.Fatal(err)
		}
		if p.Healthy() != want {
			t.Errorf("with %d of 4 unhealthy the pool's health is %t; more than 50 %% have to be available", i+1, p.Healthy())
		}
	}
}

func TestSet(t *testing.T) {
	w := newWorld(t)
	u := checked("http", passive)
	p := w.follow(u, "10.0.0.1:80", "10.0.0.2:80")
	first, second := peerOf(t, p, "10.0.0.1:80"), peerOf(t, p, "10.0.0.2:80")
	set := func(address string, healthy bool) error {
		ap, _ := netip.ParseAddrPort(address)
		return w.checks.Set(p, uuid.UUID{9, 0}, ap, healthy)
	}
	if err := set("", false); err != nil || first.Available() || !second.Available() {
		t.Errorf("%v; available are %t and %t, want the second one only", err, first.Available(), second.Available())
	}
	if err := set("10.0.0.1:80", true); err != nil || !first.Available() {
		t.Errorf("%v; available is %t", err, first.Available())
	}
	first.Observed(balancer.Outcome{Event: balancer.ConnectFailed})
	set("", true)
	first.Observed(balancer.Outcome{Event: balancer.ConnectFailed})
	if !first.Available() {
		t.Error("to set a health does not forget what was counted")
	}
	if err := set("10.0.0.2:80", false); err != ErrNoAddress || !second.Available() {
		t.Errorf("the address of another target: %v", err)
	}
	if err := w.checks.Set(w.follow(&entity.Upstream{ID: uuid.UUID{2}}, "10.0.0.1:80"), uuid.UUID{9, 0}, netip.AddrPort{}, false); err != ErrNoChecks {
		t.Errorf("without checks: %v", err)
	}
}

func TestChange_keepsTheHealthOfWhatStays(t *testing.T) {
	w := newWorld(t)
	u := checked("http", passive)
	p := w.follow(u, "10.0.0.1:80", "10.0.0.2:80")
	down := peerOf(t, p, "10.0.0.1:80")
	for range 2 {
		down.Observed(balancer.Outcome{Event: balancer.TimedOut})
	}
	p = w.follow(u, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	if peerOf(t, p, "10.0.0.1:80").Available() || !peerOf(t, p, "10.0.0.3:80").Available() {
		t.Error("a new target changed the health of the others")
	}
	w.follow(u, "10.0.0.2:80")
	p = w.follow(u, "10.0.0.2:80", "10.0.0.1:80")
	if peerOf(t, p, "10.0.0.1:80").Available() {
		t.Error("a target that came back at once is healthy")
	}
	half := peerOf(t, p, "10.0.0.2:80")
	half.Observed(balancer.Outcome{Event: balancer.TimedOut})
	other := checked("http", passive)
	other.Name, other.Slots = "renamed.internal", 2000
	p = w.follow(other, "10.0.0.1:80", "10.0.0.2:80")
	half.Observed(balancer.Outcome{Event: balancer.TimedOut})
	if peerOf(t, p, "10.0.0.2:80").Available() {
		t.Error("a change of the upstream forgot what was counted")
	}
}

func TestChange_checksThatEndLeaveAllAvailable(t *testing.T) {
	w := newWorld(t)
	p := w.follow(checked("http", passive), "10.0.0.1:80")
	peer := peerOf(t, p, "10.0.0.1:80")
	for range 2 {
		peer.Observed(balancer.Outcome{Event: balancer.TimedOut})
	}
	if p.Healthy() {
		t.Fatal("the pool is healthy")
	}
	p = w.follow(checked("http", nil), "10.0.0.1:80")
	for range 2 { // nobody listens any more
		peer.Observed(balancer.Outcome{Event: balancer.TimedOut})
	}
	if !peer.Available() || !p.Healthy() {
		t.Error("without checks the target gets no traffic")
	}
	if r := w.checks.Report(t.Context(), p); r.Checked || !r.Healthy || len(r.Targets) != 1 {
		t.Errorf("report is %+v", r)
	}
}

// An address that two upstreams have may be well in one of them.
func TestUpstreams_areToldApart(t *testing.T) {
	w := newWorld(t)
	one, two := checked("http", passive), checked("http", passive)
	two.ID, two.Name = uuid.UUID{2}, "other.internal"
	a := peerOf(t, w.follow(one, "10.0.0.1:80"), "10.0.0.1:80")
	b := peerOf(t, w.follow(two, "10.0.0.1:80"), "10.0.0.1:80")
	for range 2 {
		a.Observed(balancer.Outcome{Event: balancer.TimedOut})
	}
	if a.Available() || !b.Available() {
		t.Errorf("available are %t and %t", a.Available(), b.Available())
	}
}

func TestRemoved_endsProbes(t *testing.T) {
	var asked atomic.Int64
	hang := make(chan bool)
	s := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		select {
		case <-hang:
		case <-r.Context().Done(): // the probe is gone
		}
	}, nil)
	defer close(hang)
	w := newWorld(t)
	p := w.follow(checked("http", func(u *entity.Upstream) {
		lively(u)
		u.Healthchecks.Active.Timeout = 3600
	}), s.addr)
	patient.Until(t, "probed", func() bool { return asked.Load() > 0 })
	p.Follow(nil)
	patient.Until(t, "no probe is under way", func() bool {
		w.checks.schedule.mu.Lock()
		defer w.checks.schedule.mu.Unlock()
		return w.checks.schedule.running == 0 && len(w.checks.schedule.queue) == 0
	})
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	u := checked("http", passive)
	u.Name = "counted.internal"
	p := w.follow(u, "10.0.0.1:80", "10.0.0.2:80")
	for range 2 {
		peerOf(t, p, "10.0.0.1:80").Observed(balancer.Outcome{Event: balancer.TimedOut})
	}
	line := func(address, state string, value int) string {
		return fmt.Sprintf("kong_upstream_target_health{address=%q,state=%q,subsystem=\"http\",target=%q,upstream=\"counted.internal\"} %d\n", address, state, address, value)
	}
	want := "# HELP kong_upstream_target_health Health status of targets of upstream. States = healthchecks_off|healthy|unhealthy|dns_error, value is 1 when state is populated.\n" +
		"# TYPE kong_upstream_target_health gauge\n" +
		line("10.0.0.1:80", "dns_error", 0) + line("10.0.0.1:80", "healthchecks_off", 0) + line("10.0.0.1:80", "healthy", 0) + line("10.0.0.1:80", "unhealthy", 1) +
		line("10.0.0.2:80", "dns_error", 0) + line("10.0.0.2:80", "healthchecks_off", 0) + line("10.0.0.2:80", "healthy", 1) + line("10.0.0.2:80", "unhealthy", 0)
	registry := prometheus.NewRegistry()
	registry.MustRegister(living)
	if n, err := testutil.GatherAndCount(registry); n != 0 || err != nil {
		t.Errorf("%d metrics that nobody asked for: %v", n, err)
	}
	ShowMetrics(true)
	defer ShowMetrics(false)
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	if n := testutil.ToFloat64(changes.WithLabelValues("counted.internal", "unhealthy")); n != 1 {
		t.Errorf("%v changes were counted", n)
	}
	p.Follow(nil)
	registry = prometheus.NewRegistry()
	registry.MustRegister(changes, living)
	if families, _ := registry.Gather(); strings.Contains(fmt.Sprint(families), "counted.internal") {
		t.Errorf("the upstream is gone, and still counted: %v", families)
	}
}

func TestObserve_successOfTheHealthyAllocatesNothing(t *testing.T) {
	w := newWorld(t)
	peer := peerOf(t, w.follow(checked("http", passive), "10.0.0.1:80"), "10.0.0.1:80")
	if n := testing.AllocsPerRun(1000, func() { peer.Observed(responded(200)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve_successOfTheHealthy(b *testing.B) {
	pools, checks := balancer.NewPools(), New()
	defer pools.Close()
	defer checks.Close()
	pools.Watch(checks)
	plan, _ := balancer.NewPlan(checked("http", passive), []*entity.Target{{Target: "10.0.0.1:80", Weight: 1}})
	p := pools.Of(uuid.UUID{1})
	p.Follow(plan)
	peer := p.Addresses()[0].Peer
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			peer.Observed(responded(200))
		}
	})
}

// Hundreds of dead targets are all found, and do not cost the probes of the one
// that lives.
func TestActive_manyTargets(t *testing.T) {
	s := serveHTTP(t, func(http.ResponseWriter, *http.Request) {}, nil)
	w := newWorld(t)
	host, port, _ := net.SplitHostPort(s.addr)
	var addresses []string
	for i := range 500 {
		addresses = append(addresses, fmt.Sprintf("127.1.%d.%d:%s", i/250, i%250+1, port)) // nobody listens there
	}
	u := checked("http", lively)
	u.Healthchecks.Active.Healthy.Interval, u.Healthchecks.Active.Unhealthy.Interval = 0.2, 1
	u.Healthchecks.Active.Unhealthy.TCPFailures = 1
	p := w.follow(u, append(addresses, net.JoinHostPort(host, port))...)
	start := time.Now()
	patient.Until(t, "all dead targets are known", func() bool {
		n := 0
		for _, a := range p.Addresses() {
			if a.Peer.Available() {
				n++
			}
		}
		return n == 1
	})
	t.Logf("500 dead targets found within %v", time.Since(start))
	if !p.Healthy() {
		t.Error("the one that lives does not suffice for a threshold of 0")
	}
}
