package balancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/patient"
)

func TestMain(m *testing.M) { patient.NoLeaks(m) }

var roundRobinUpstream = &entity.Upstream{Algorithm: "round-robin"}

// targets are t0, t1 and so on: addresses of which the last two bytes tell the
// number.
func targets(weights ...int) []*entity.Target {
	var ts []*entity.Target
	for i, w := range weights {
		ts = append(ts, target(i, fmt.Sprintf("10.0.%d.%d:8000", i>>8, i&255), w))
	}
	return ts
}

func target(i int, hostPort string, weight int) *entity.Target {
	return &entity.Target{ID: uuid.UUID{15: byte(i), 14: byte(i >> 8)}, Target: hostPort, Weight: weight}
}

func name(a *Address) string {
	b := a.Addr.Addr().As4()
	return fmt.Sprintf("t%d", int(b[2])<<8|int(b[3]))
}

func plan(t testing.TB, u *entity.Upstream, targets ...*entity.Target) *Plan {
	t.Helper()
	p, err := NewPlan(u, targets)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pools(t testing.TB, r Resolver) *Pools {
	s := NewPools()
	s.Use(r, zap.NewNop())
	t.Cleanup(s.Close)
	return s
}

// pool is one whose targets are all addresses.
func pool(t testing.TB, u *entity.Upstream, targets ...*entity.Target) *Pool {
	t.Helper()
	p := pools(t, nil).Of(uuid.UUID{1})
	p.Follow(plan(t, u, targets...))
	return p
}

func pick(t testing.TB, p *Pool, key uint32, tried *RetrySet) string {
	t.Helper()
	a, err := p.Pick(t.Context(), key, tried)
	if err != nil {
		t.Fatal(err)
	}
	return name(a)
}

func peer(t testing.TB, p *Pool, want string) *Peer {
	t.Helper()
	for _, a := range p.Addresses() {
		if name(a) == want {
			return a.Peer
		}
	}
	t.Fatalf("no address %s", want)
	return nil
}

// algorithms are all that there are. What holds for each is tested with each.
var algorithms = []*entity.Upstream{
	roundRobinUpstream,
	{Algorithm: "least-connections"},
	{Algorithm: "latency"},
	{Algorithm: "consistent-hashing", HashOn: "ip", Slots: 10000},
}

func each(t *testing.T, f func(t *testing.T, u *entity.Upstream)) {
	for _, u := range algorithms {
		t.Run(u.Algorithm, func(t *testing.T) { f(t, u) })
	}
}

func TestPick_retryAvoidsTheTriedUntilAllWere(t *testing.T) {
	each(t, func(t *testing.T, u *entity.Upstream) {
		p := pool(t, u, targets(1, 1000, 1, 0)...)
		for key := range uint32(50) {
			tried := new(RetrySet)
			seen := map[string]bool{}
			for range 3 {
				h := pick(t, p, key, tried)
				if seen[h] {
					t.Fatalf("%s was tried twice before all were tried", h)
				}
				seen[h] = true
			}
			fourth, fifth := pick(t, p, key, tried), pick(t, p, key, tried)
			if fourth == fifth {
				t.Fatalf("in the second round %s was tried twice", fourth)
			}
		}
	})
}

func TestPick_moreTriesThanTheSetHoldsInline(t *testing.T) {
	each(t, func(t *testing.T, u *entity.Upstream) {
		weights := make([]int, 300)
		for i := range weights {
			weights[i] = i + 1
		}
		p, tried := pool(t, u, targets(weights...)...), new(RetrySet)
		seen := map[string]bool{}
		for range weights {
			seen[pick(t, p, 7, tried)] = true
		}
		if len(seen) != len(weights) {
			t.Errorf("%d tries reached %d targets, want each once", len(weights), len(seen))
		}
	})
}

func TestPick_nobodyThere(t *testing.T) {
	each(t, func(t *testing.T, u *entity.Upstream) {
		for _, weights := range [][]int{nil, {0}, {0, 0}} {
			if a, err := pool(t, u, targets(weights...)...).Pick(t.Context(), 1, new(RetrySet)); err != ErrNoPeer {
				t.Errorf("weights %v: got %v, %v, want ErrNoPeer", weights, a, err)
			}
		}
		p := pool(t, u, targets(1, 1)...)
		for _, a := range p.Addresses() {
			a.Peer.SetAvailable(false)
		}
		if a, err := p.Pick(t.Context(), 1, new(RetrySet)); err != ErrNoPeer {
			t.Errorf("all are unavailable: got %v, %v, want ErrNoPeer", a, err)
		}
		peer(t, p, "t1").SetAvailable(true)
		if got := pick(t, p, 1, new(RetrySet)); got != "t1" {
			t.Errorf("got %s, want the one that came back", got)
		}
	})
}

func TestPick_unavailableGetsNothing(t *testing.T) {
	each(t, func(t *testing.T, u *entity.Upstream) {
		p := pool(t, u, targets(5, 5, 1)...)
		peer(t, p, "t1").SetAvailable(false)
		for key := range uint32(200) {
			tried := new(RetrySet)
			a, b, c := pick(t, p, key*40503, tried), pick(t, p, key*40503, tried), pick(t, p, key*40503, tried)
			if a == "t1" || b == "t1" || c == "t1" || a == b {
				t.Fatalf("got %s, %s and %s", a, b, c)
			}
		}
	})
}

func TestPick_doesNotAllocate(t *testing.T) {
	each(t, func(t *testing.T, u *entity.Upstream) {
		p, tried := pool(t, u, targets(1, 2, 3)...), new(RetrySet)
		ctx := t.Context()
		if n := testing.AllocsPerRun(100, func() {
			*tried = RetrySet{}
			for range 2 {
				a, _ := p.Pick(ctx, 99, tried)
				a.Peer.Release(time.Millisecond)
			}
		}); n != 0 {
			t.Errorf("a pick and a retry allocate %v times", n)
		}
	})
}

func TestPick_whileEverythingChanges(t *testing.T) {
	each(t, func(t *testing.T, u *entity.Upstream) {
		p := pool(t, u, targets(1, 2, 3)...)
		done := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for key := uint32(0); ; key++ {
					select {
					case <-done:
						return
					default:
					}
					tried := new(RetrySet)
					for range 3 {
						a, err := p.Pick(t.Context(), key, tried)
						if err != nil {
							t.Errorf("pick: %v", err)
							return
						}
						a.Peer.Release(time.Microsecond)
					}
				}
			})
		}
		for i := range 300 {
			weights := []int{1, 2, 3, 4}[:2+i%3]
			p.Follow(plan(t, u, targets(weights...)...))
			peer(t, p, "t1").SetAvailable(i%2 == 0)
		}
		close(done)
		wg.Wait()
		for _, a := range p.Addresses() {
			if n := a.Peer.InFlight(); n != 0 {
				t.Errorf("%s has %d tries under way after all ended", name(a), n)
			}
		}
	})
}

func TestHealthy_thresholdMustBeExceeded(t *testing.T) {
	u := &entity.Upstream{}
	u.Healthchecks.Threshold = 50
	p := pool(t, u, targets(10, 10, 20)...)
	for _, tt := range []struct {
		down []string
		want bool
	}{
		{nil, true},
		{[]string{"t0"}, true},
		{[]string{"t0", "t1"}, false}, // exactly 50 percent
		{[]string{"t2"}, false},
		{[]string{"t1"}, true},
	} {
		for _, a := range p.Addresses() {
			a.Peer.SetAvailable(!slices.Contains(tt.down, name(a)))
		}
		if p.Healthy() != tt.want {
			t.Errorf("without %v healthy is %t", tt.down, p.Healthy())
		}
	}
}

func TestPeer_survivesWhatChangesAroundIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool(t, roundRobinUpstream, targets(1, 1)...)
		before := peer(t, p, "t1")
		before.SetAvailable(false)
		p.Follow(plan(t, roundRobinUpstream, targets(7, 7, 7)...))
		if peer(t, p, "t1") != before {
			t.Error("a change of weights made another peer")
		}
		p.Follow(plan(t, roundRobinUpstream, targets(1)...))
		time.Sleep(rememberFor - time.Second)
		p.Follow(plan(t, roundRobinUpstream, targets(1, 1)...))
		if after := peer(t, p, "t1"); after != before || after.Available() {
			t.Error("a target that came back soon is taken for another")
		}
		p.Follow(plan(t, roundRobinUpstream, targets(1)...))
		time.Sleep(rememberFor + time.Second)
		p.Follow(plan(t, roundRobinUpstream, targets(2)...))
		p.Follow(plan(t, roundRobinUpstream, targets(1, 1)...))
		if after := peer(t, p, "t1"); after == before || !after.Available() {
			t.Error("a target that came back late is taken for the old one")
		}
	})
}

// A watch writes down what a Watcher is told.
type watch struct {
	mu   sync.Mutex
	told []string
}

func (w *watch) Changed(p *Pool, plan *Plan, addresses []*Address) {
	var list []string
	for _, a := range addresses {
		list = append(list, a.Text)
		a.Peer.SetAvailable(a.Weight != 9) // allowed here
	}
	w.tell("changed " + strings.Join(list, " "))
}
func (w *watch) Removed(*Pool) { w.tell("removed") }
func (w *watch) tell(s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, s)
}

func (w *watch) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	told := w.told
	w.told = nil
	return told
}

func TestWatcher_isToldOfEachChange(t *testing.T) {
	s, w := pools(t, nil), new(watch)
	s.Watch(w)
	p := s.Of(uuid.UUID{1})
	p.Follow(plan(t, roundRobinUpstream, targets(1)...))
	p.Follow(plan(t, roundRobinUpstream, targets(1)...)) // the same
	p.Follow(plan(t, roundRobinUpstream, targets(1, 9)...))
	p.Follow(nil)
	p.Follow(nil)
	want := []string{"changed 10.0.0.0:8000", "changed 10.0.0.0:8000 10.0.0.1:8000", "removed"}
	if got := w.take(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if _, ok := s.Get(p.ID); ok {
		t.Error("the pool of an upstream that is gone is kept")
	}
	if len(p.Addresses()) != 2 {
		t.Error("requests under way lost the addresses")
	}
}

type observed struct{ outcomes []Outcome }

func (o *observed) Observe(_ *Peer, out Outcome) { o.outcomes = append(o.outcomes, out) }

func TestPeer_observer(t *testing.T) {
	p, o := pool(t, roundRobinUpstream, targets(1)...), new(observed)
	q := peer(t, p, "t0")
	q.Observed(Outcome{Event: TimedOut}) // nobody hears it
	q.SetObserver(o)
	q.Observed(Outcome{Event: Responded, Status: 503})
	q.SetObserver(nil)
	q.Observed(Outcome{Event: ConnectFailed})
	if want := []Outcome{{Responded, 503}}; !slices.Equal(o.outcomes, want) {
		t.Errorf("observed %v, want %v", o.outcomes, want)
	}
}

func TestPools_settleForgetsWhatFollowsNothing(t *testing.T) {
	s := pools(t, nil)
	used, unused := s.Of(uuid.UUID{1}), s.Of(uuid.UUID{2})
	used.Follow(plan(t, roundRobinUpstream))
	s.Settle()
	if p, ok := s.Get(used.ID); !ok || p != used {
		t.Error("a pool that follows a plan was forgotten")
	}
	if _, ok := s.Get(unused.ID); ok {
		t.Error("a pool that follows nothing was kept")
	}
}

// A book answers names from what is written in it.
type book struct {
	mu    sync.Mutex
	m     map[string]*dns.Answer
	asked map[string]int
	hold  chan struct{} // not nil: answers wait until it is closed
}

func (b *book) set(name, kind string, ttl time.Duration, records ...dns.Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.m == nil {
		b.m = map[string]*dns.Answer{}
	}
	b.m[name] = dns.NewAnswer(kind, records, time.Now().Add(ttl))
}

func (b *book) Lookup(ctx context.Context, name string) (*dns.Answer, error) {
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.asked == nil {
		b.asked = map[string]int{}
	}
	b.asked[name]++
	if a := b.m[name]; a != nil {
		return a, nil
	}
	return nil, &dns.Error{Name: name, Reason: "name error", NotFound: true}
}

func ip(n byte) dns.Record { return dns.Record{IP: netip.AddrFrom4([4]byte{10, 0, 0, n})} }

func texts(p *Pool) string {
	var list []string
	for _, a := range p.Addresses() {
		list = append(list, fmt.Sprintf("%s=%d(%s)", a.Text, a.Weight, a.Host))
	}
	return strings.Join(list, " ")
}

func TestNames_becomeAddresses(t *testing.T) {
	b := new(book)
	b.set("a.test", "A", time.Hour, ip(1), ip(2), ip(1))
	b.set("srv.test", "SRV", time.Hour,
		dns.Record{IP: netip.MustParseAddr("10.0.0.3"), Port: 81, Weight: 5, Name: "one.srv.test"},
		dns.Record{IP: netip.MustParseAddr("10.0.0.4"), Port: 0, Weight: 0, Name: "two.srv.test"})
	for _, tt := range []struct {
		srvName bool
		want    string
	}{
		{false, "10.0.0.1:80=7(a.test) 10.0.0.2:80=7(a.test) 10.0.0.3:81=5(srv.test) 10.0.0.4:90=1(srv.test) 10.0.0.9:70=3(10.0.0.9)"},
		{true, "10.0.0.1:80=7(a.test) 10.0.0.2:80=7(a.test) 10.0.0.3:81=5(one.srv.test) 10.0.0.4:90=1(two.srv.test) 10.0.0.9:70=3(10.0.0.9)"},
	} {
		p := pools(t, b).Of(uuid.UUID{1})
		p.Follow(plan(t, &entity.Upstream{UseSRVName: tt.srvName},
			target(1, "a.test:80", 7), target(2, "srv.test:90", 7), target(3, "10.0.0.9:70", 3), target(4, "off.test:1", 0)))
		<-p.table.Load().asked
		if got := texts(p); got != tt.want {
			t.Errorf("use_srv_name %t: got  %s\nwant %s", tt.srvName, got, tt.want)
		}
	}
	p := pools(t, b).Of(uuid.UUID{1})
	p.Follow(plan(t, roundRobinUpstream, target(1, "srv.test:90", 7), target(2, "gone.test:80", 1), target(3, "[::1]:80", 1), target(4, "off.test:1", 0)))
	<-p.table.Load().asked
	var states []string
	for _, s := range p.Targets() {
		states = append(states, fmt.Sprintf("%s %s %d %v", s.Target.Host, s.Kind, len(s.Addresses), s.Err))
	}
	if want := []string{"srv.test SRV 2 <nil>", "gone.test  0 dns: gone.test: name error", "::1 AAAA 1 <nil>", "off.test  0 <nil>"}; !slices.Equal(states, want) {
		t.Errorf("got  %q\nwant %q", states, want)
	}
	if b.asked["off.test"] != 0 {
		t.Error("the name of a target without a weight was looked up")
	}
}

func TestNames_firstPickWaitsForTheFirstAnswer(t *testing.T) {
	b := &book{hold: make(chan struct{})}
	b.set("a.test", "A", time.Hour, ip(1))
	p := pools(t, b).Of(uuid.UUID{1})
	p.Follow(plan(t, roundRobinUpstream, target(1, "a.test:80", 7)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Pick(ctx, 0, new(RetrySet)); !errors.Is(err, ErrNoPeer) {
		t.Errorf("got error %v before the name was answered", err)
	}
	time.AfterFunc(10*time.Millisecond, func() { close(b.hold) })
	if got := pick(t, p, 0, new(RetrySet)); got != "t1" {
		t.Errorf("got %s", got)
	}
}

func TestNames_areFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(book)
		b.set("a.test", "A", 5*time.Second, ip(1))
		s := NewPools()
		s.Use(b, zap.NewNop())
		p, w := s.Of(uuid.UUID{1}), new(watch)
		s.Watch(w)
		p.Follow(plan(t, roundRobinUpstream, target(1, "a.test:80", 1), target(2, "b.test:80", 1)))
		step := func(d time.Duration, want string) {
			t.Helper()
			time.Sleep(d)
			synctest.Wait()
			if got := texts(p); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		step(0, "10.0.0.1:80=1(a.test)")
		before := p.Addresses()[0].Peer

		b.set("a.test", "A", 30*time.Second, ip(1), ip(2))
		step(5*time.Second, "10.0.0.1:80=1(a.test)") // it may be half a second late
		step(time.Second, "10.0.0.1:80=1(a.test) 10.0.0.2:80=1(a.test)")
		if p.Addresses()[0].Peer != before {
			t.Error("a change of addresses made another peer of one that stayed")
		}

		b.set("b.test", "A", time.Hour, ip(3)) // asked again 30 seconds after it failed
		step(30*time.Second, "10.0.0.1:80=1(a.test) 10.0.0.2:80=1(a.test) 10.0.0.3:80=1(b.test)")

		w.take()
		b.set("a.test", "A", 5*time.Second, ip(2), ip(1)) // in another order: nothing changed
		step(time.Minute, "10.0.0.1:80=1(a.test) 10.0.0.2:80=1(a.test) 10.0.0.3:80=1(b.test)")
		if told := w.take(); len(told) > 0 {
			t.Errorf("records in another order were told as %q", told)
		}

		b.mu.Lock()
		delete(b.m, "a.test")
		b.mu.Unlock()
		step(time.Minute, "10.0.0.3:80=1(b.test)")

		other := new(book)
		other.set("b.test", "A", time.Hour, ip(9))
		s.Use(other, zap.NewNop())
		step(time.Second, "10.0.0.9:80=1(b.test)")
		p.Follow(nil)
		synctest.Wait()
		asked := other.asked["b.test"]
		step(2*time.Hour, "10.0.0.9:80=1(b.test)")
		if n := other.asked["b.test"]; n != asked {
			t.Error("the name of an upstream that is gone is still looked up")
		}
		s.Close()
	})
}

// A name that no server knew is asked for again soon, then less often.
func TestNames_failuresAreAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := NewPools(), &failing{}
		s.Use(r, zap.NewNop())
		p := s.Of(uuid.UUID{1})
		begin := time.Now()
		p.Follow(plan(t, roundRobinUpstream, target(1, "a.test:80", 1)))
		time.Sleep(2 * time.Minute)
		s.Close()
		var at []int
		for _, when := range r.asked {
			at = append(at, int(when.Sub(begin).Seconds()))
		}
		if want := []int{0, 1, 3, 7, 15, 31, 61, 91}; !slices.Equal(at, want) {
			t.Errorf("asked at seconds %v, want %v", at, want)
		}
	})
}

type failing struct{ asked []time.Time }

func (f *failing) Lookup(_ context.Context, name string) (*dns.Answer, error) {
	f.asked = append(f.asked, time.Now())
	return nil, &dns.Error{Name: name, Reason: "server failure"}
}

func TestNewPlan_badTargetIsReportedAndLeftOut(t *testing.T) {
	p, err := NewPlan(&entity.Upstream{}, append(targets(1), &entity.Target{Target: "nowhere", Weight: 1}))
	if err == nil || !strings.Contains(err.Error(), `target "nowhere"`) {
		t.Errorf("got error %v, want one that names the target", err)
	}
	if len(p.Targets) != 1 || p.Targets[0].Host != "10.0.0.0" {
		t.Errorf("got %v", p.Targets)
	}
}

func TestNewTarget(t *testing.T) {
	for _, tt := range []struct {
		in, host string
		port     int
		ip       string // "invalid IP": a name; empty: refused
	}{
		{"api.internal:8000", "api.internal", 8000, "invalid IP"},
		{"10.0.0.1:80", "10.0.0.1", 80, "10.0.0.1"},
		{"[0000:0000:0000:0000:0000:0000:0000:0001]:80", "0000:0000:0000:0000:0000:0000:0000:0001", 80, "::1"},
		{"api.internal", "", 0, ""},
		{"api.internal:99999", "", 0, ""},
		{":80", "", 0, ""},
	} {
		got, err := NewTarget(&entity.Target{Target: tt.in})
		if tt.ip == "" {
			if err == nil {
				t.Errorf("%q: got %+v, want an error", tt.in, got)
			}
			continue
		}
		if err != nil || got.Host != tt.host || got.Port != tt.port || got.IP.String() != tt.ip {
			t.Errorf("%q: got %+v, %v", tt.in, got, err)
		}
	}
}

func TestXXHash32(t *testing.T) {
	for in, want := range map[string]uint32{
		"":                      0x02CC5D05,
		"a":                     0x550D7456,
		"abc":                   0x32D153FF,
		"Cats are interesting.": 1710037756,
		"Nobody inspects the spammish repetition": 0xE2293B2F,
	} {
		if got := xxHash32(in); got != want {
			t.Errorf("%q: got %#x, want %#x", in, got, want)
		}
	}
}
