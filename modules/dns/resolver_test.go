package dns

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// show is an answer in a line.
func show(a *Answer) string {
	parts := []string{a.Type}
	for _, r := range a.Records {
		s := r.IP.String()
		if a.Type == "SRV" {
			s += fmt.Sprintf(":%d=%d(%s)", r.Port, r.Weight, r.Name)
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

// lookup answers what was found, or the error.
func lookup(t testing.TB, r *Resolver, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patient.Limit)
	defer cancel()
	a, err := r.Lookup(ctx, name)
	if err != nil {
		var e *Error
		if !errors.As(err, &e) {
			t.Fatalf("%s: error %v is no *Error", name, err)
		}
		if e.NotFound {
			return "not found: " + e.Reason
		}
		return "error: " + e.Reason
	}
	return show(a)
}

func want(t testing.TB, r *Resolver, name, want string) {
	t.Helper()
	if got := lookup(t, r, name); got != want {
		t.Errorf("%s: got  %s\nwant %s", name, got, want)
	}
}

// settle waits until nobody asks for the name in the background.
func settle(t testing.TB, r *Resolver, name string) {
	t.Helper()
	e, ok := r.cache.Load().Get(name)
	if !ok {
		t.Fatalf("%s is not in the cache", name)
	}
	e.mu.Lock()
	flight := e.flight
	e.mu.Unlock()
	if flight != nil {
		<-flight
	}
}

func TestLookup_records(t *testing.T) {
	s := serveDNS(t)
	s.set("a.test. 60 A 10.0.0.1", "a.test. 60 A 10.0.0.2", "a.test. 60 AAAA 2001:db8::1",
		"six.test. 60 AAAA 2001:db8::6",
		"short.one.test. 60 A 10.0.1.1", "short.two.test. 60 A 10.0.2.1", "far.two.test. 60 A 10.0.2.2", "bare. 60 A 10.0.3.1",
		"dotted.name. 60 A 10.0.4.1", "dotted.name.one.test. 60 A 10.0.4.2",
		"alias.test. 60 CNAME b.test.", "b.test. 60 CNAME a.test.",
		"ring.test. 60 CNAME ring2.test.", "ring2.test. 60 CNAME ring.test.",
		"nowhere.test. 60 CNAME gone.test.",
		"srv.test. 60 SRV 10 0 81 h1.test.", "srv.test. 60 SRV 10 5 0 h2.test.", "srv.test. 60 SRV 20 9 83 h1.test.", "srv.test. 60 A 10.9.9.9",
		"h1.test. 60 A 10.0.5.1", "h2.test. 60 A 10.0.5.2", "h2.test. 60 A 10.0.5.3",
		"lame.test. 60 SRV 1 1 80 gone.test.", "lame.test. 60 SRV 1 1 81 h1.test.",
		"off.test. 60 SRV 0 0 0 .",
		"dead.test. 60 SRV 1 1 80 gone.test.")
	all := func(c *Config) { c.Order = []string{"LAST", "SRV", "A", "AAAA", "CNAME"} }
	r, _ := resolver(t, s, all)
	for name, answer := range map[string]string{
		"a.test":        "A 10.0.0.1 10.0.0.2",
		"A.Test.":       "A 10.0.0.1 10.0.0.2",
		"six.test":      "AAAA 2001:db8::6",
		"short":         "A 10.0.1.1",
		"far":           "A 10.0.2.2",
		"bare":          "A 10.0.3.1",
		"dotted.name":   "A 10.0.4.1",
		"alias.test":    "A 10.0.0.1 10.0.0.2",
		"ring.test":     "not found: dns client error: 101 empty record received",
		"nowhere.test":  "not found: dns server error: 3 name error",
		"srv.test":      "SRV 10.0.5.1:81=1(h1.test) 10.0.5.2:0=3(h2.test) 10.0.5.3:0=2(h2.test)",
		"lame.test":     "SRV 10.0.5.1:81=1(h1.test)",
		"off.test":      "not found: dns client error: 101 empty record received",
		"dead.test":     "not found: dns server error: 3 name error",
		"missing.test":  "not found: dns server error: 3 name error",
		"10.1.2.3":      "A 10.1.2.3",
		"[2001:db8::9]": "AAAA 2001:db8::9",
		"localhost":     "A 127.0.0.1",
	} {
		want(t, r, name, answer)
	}

	// Kong's default does not ask for AAAA; another order prefers other records.
	kong, _ := resolver(t, s)
	want(t, kong, "six.test", "not found: dns client error: 101 empty record received")
	hostsFirst, _ := resolver(t, s, func(c *Config) { c.Order = []string{"a", "srv"} })
	want(t, hostsFirst, "srv.test", "A 10.9.9.9")
	sixFirst, _ := resolver(t, s, func(c *Config) { c.Order = []string{"AAAA", "A"} })
	want(t, sixFirst, "a.test", "AAAA 2001:db8::1")
	want(t, sixFirst, "alias.test", "AAAA 2001:db8::1")
}

func TestLookup_aliasBehindWhichTheServerTellsNothing(t *testing.T) {
	s := serveDNS(t)
	s.set("deep.test. 60 CNAME c1.test.", "c1.test. 50 CNAME c2.test.", "c2.test. 40 CNAME c3.test.", "c3.test. 30 CNAME c4.test.",
		"c4.test. 20 CNAME c5.test.", "c5.test. 10 A 10.0.0.5") // the server follows four
	r, clock := resolver(t, s)
	want(t, r, "deep.test", "A 10.0.0.5")
	a, _ := r.Lookup(t.Context(), "deep.test")
	if ttl := a.Expires.Sub(clock.Now()); ttl != 10*time.Second {
		t.Errorf("it lives %v, want the least of all records, 10s", ttl)
	}
}

func TestLookup_additionalRecordsSaveQuestions(t *testing.T) {
	s := serveDNS(t)
	s.set("srv.test. 60 SRV 1 7 80 h1.test.")
	extra, _ := wire.NewRR("H1.test. 20 A 10.0.0.1")
	s.do(func() { s.extra = []wire.RR{extra} })
	r, _ := resolver(t, s)
	want(t, r, "srv.test", "SRV 10.0.0.1:80=7(h1.test)")
	if asked := s.take(); !slices.Equal(asked, []string{"srv.test. SRV udp"}) {
		t.Errorf("asked %q", asked)
	}
}

func TestLookup_lastKindIsAskedForFirst(t *testing.T) {
	s := serveDNS(t)
	s.set("a.test. 60 A 10.0.0.1")
	r, clock := resolver(t, s)
	want(t, r, "a.test", "A 10.0.0.1")
	if asked := s.take(); !slices.Equal(asked, []string{"a.test. SRV udp", "a.test. A udp"}) {
		t.Errorf("at first asked %q", asked)
	}
	clock.add(2 * time.Hour)
	want(t, r, "a.test", "A 10.0.0.1")
	if asked := s.take(); !slices.Equal(asked, []string{"a.test. A udp"}) {
		t.Errorf("later asked %q", asked)
	}
}

func TestLookup_lifetimes(t *testing.T) {
	s := serveDNS(t)
	s.set("a.test. 60 A 10.0.0.1", "a.test. 30 A 10.0.0.2")
	r, clock := resolver(t, s)
	step := func(d time.Duration, name, answer string, asks bool) {
		t.Helper()
		clock.add(d)
		s.take()
		want(t, r, name, answer)
		settle(t, r, name)
		if asked := s.take(); len(asked) > 0 != asks {
			t.Errorf("%s: asked %q", name, asked)
		}
	}
	old, other := "A 10.0.0.1 10.0.0.2", "A 10.0.0.3"
	step(0, "a.test", old, true)
	step(29*time.Second, "a.test", old, false) // the shorter of the two
	s.set("a.test. 5 A 10.0.0.3")
	step(2*time.Second, "a.test", old, true) // stale while it is asked for
	step(0, "a.test", other, false)

	// A name that does not exist, and one that no server knows.
	step(0, "new.test", "not found: dns server error: 3 name error", true)
	s.set("new.test. 60 A 10.0.0.4")
	step(29*time.Second, "new.test", "not found: dns server error: 3 name error", false)
	step(2*time.Second, "new.test", "A 10.0.0.4", true)
	s.do(func() {
		for _, kind := range wireKinds {
			for _, name := range []string{"bad.test.", "bad.test.one.test.", "bad.test.two.test."} {
				s.rcodes[name+" "+kind] = wire.RcodeServerFailure
			}
		}
	})
	step(0, "bad.test", "error: dns server error: 2 server failure", true)
	step(900*time.Millisecond, "bad.test", "error: dns server error: 2 server failure", false)
	step(200*time.Millisecond, "bad.test", "error: dns server error: 2 server failure", true)

	// A name that is gone is gone, stale or not.
	s.do(func() { delete(s.zone, "a.test. A") })
	step(time.Minute, "a.test", other, true)
	step(0, "a.test", "not found: dns server error: 3 name error", false)
}

func TestLookup_validTTLReplacesThatOfRecords(t *testing.T) {
	s := serveDNS(t)
	s.set("a.test. 60 A 10.0.0.1")
	r, clock := resolver(t, s, func(c *Config) { c.ValidTTL = time.Hour })
	want(t, r, "a.test", "A 10.0.0.1")
	s.take()
	clock.add(59 * time.Minute)
	want(t, r, "a.test", "A 10.0.0.1")
	if asked := s.take(); len(asked) > 0 {
		t.Errorf("asked %q within the hour", asked)
	}
}

func TestLookup_serverDiesAndReturns(t *testing.T) {
	s := serveDNS(t)
	s.set("a.test. 10 A 10.0.0.1")
	r, clock := resolver(t, s)
	want(t, r, "a.test", "A 10.0.0.1")

	s.stop()
	clock.add(20 * time.Second)
	want(t, r, "a.test", "A 10.0.0.1")
	settle(t, r, "a.test")
	clock.add(50 * time.Minute)
	want(t, r, "a.test", "A 10.0.0.1")
	settle(t, r, "a.test")
	if got := lookup(t, r, "other.test"); !strings.HasPrefix(got, "error: no name server answers") {
		t.Errorf("a name that was never known: got %s", got)
	}

	s.set("a.test. 10 A 10.0.0.2")
	s.start(s.addr)
	clock.add(2 * time.Second)
	want(t, r, "a.test", "A 10.0.0.1")
	settle(t, r, "a.test")
	want(t, r, "a.test", "A 10.0.0.2")

	s.stop()
	clock.add(10*time.Second + time.Hour) // now it is too old
	if got := lookup(t, r, "a.test"); !strings.HasPrefix(got, "error: no name server answers") {
		t.Errorf("after the stale hour: got %s", got)
	}
}

func TestLookup_anotherServerHelps(t *testing.T) {
	dead, broken, good := serveDNS(t), serveDNS(t), serveDNS(t)
	dead.stop()
	broken.do(func() {
		broken.rcodes["a.test. A"], broken.rcodes["a.test. SRV"] = wire.RcodeRefused, wire.RcodeRefused
	})
	good.set("a.test. 60 A 10.0.0.1")
	r, _ := resolver(t, good, func(c *Config) { c.Servers = []string{dead.addr, broken.addr, good.addr} })
	want(t, r, "a.test", "A 10.0.0.1")
}

func TestLookup_silentServerIsGivenUp(t *testing.T) {
	silent, good := serveDNS(t), serveDNS(t)
	hold := make(chan struct{})
	t.Cleanup(func() { close(hold) })
	silent.do(func() { silent.hold = hold })
	good.set("a.test. 60 A 10.0.0.1")
	r, _ := resolver(t, good, func(c *Config) { c.Servers, c.Order = []string{silent.addr, good.addr}, []string{"A"} })
	want(t, r, "a.test", "A 10.0.0.1") // after the second that resolv.conf allows

	// Who asks does not wait longer than he wants.
	alone, _ := resolver(t, silent, func(c *Config) { write(t, c.ResolvConf, "options timeout:30 attempts:1\n") })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := alone.Lookup(ctx, "b.test"); err == nil || !strings.Contains(err.Error(), context.DeadlineExceeded.Error()) {
		t.Errorf("got error %v", err)
	}
	begin := time.Now()
	alone.Close() // while it is being asked for
	if d := time.Since(begin); d > 10*time.Second {
		t.Errorf("closing took %v", d)
	}
	if _, err := alone.Lookup(t.Context(), "c.test"); err == nil {
		t.Error("a closed resolver answers")
	}
}

func TestLookup_truncatedAnswerComesOverTCP(t *testing.T) {
	s := serveDNS(t)
	var records []string
	for i := range 200 {
		records = append(records, fmt.Sprintf("many.test. 60 A 10.0.%d.%d", i/250, i%250))
	}
	s.set(records...)
	s.do(func() { s.truncate = true })
	r, _ := resolver(t, s, func(c *Config) { c.Order = []string{"A"} })
	a, err := r.Lookup(t.Context(), "many.test")
	if err != nil || len(a.Records) != 200 {
		t.Fatalf("got %v, %v, want 200 records", a, err)
	}
	if asked := s.take(); !slices.Equal(asked, []string{"many.test. A udp", "many.test. A tcp"}) {
		t.Errorf("asked %q", asked)
	}
}

func TestLookup_serverWithoutEDNS(t *testing.T) {
	s := serveDNS(t)
	s.set("a.test. 60 A 10.0.0.1")
	s.do(func() { s.old = true })
	r, _ := resolver(t, s)
	want(t, r, "a.test", "A 10.0.0.1")
}

func TestLookup_manyWantOneQuestion(t *testing.T) {
	s := serveDNS(t)
	s.set("a.test. 60 A 10.0.0.1")
	hold := make(chan struct{})
	s.do(func() { s.hold = hold })
	r, _ := resolver(t, s, func(c *Config) { c.Order = []string{"A"} })
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { want(t, r, "a.test", "A 10.0.0.1") })
	}
	time.AfterFunc(50*time.Millisecond, func() { close(hold) })
	wg.Wait()
	if asked := s.take(); len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
}

func TestLookup_cacheIsBounded(t *testing.T) {
	s := serveDNS(t)
	r, clock := resolver(t, s, func(c *Config) { c.CacheSize, c.Order = 16, []string{"A"} })
	s.set("keep.test. 60 A 10.0.0.1")
	for i := range 100 {
		clock.add(time.Second)
		lookup(t, r, "keep.test")
		lookup(t, r, fmt.Sprintf("n%d.test", i))
		if n := r.cache.Load().Len(); n > 16 {
			t.Fatalf("%d names are remembered", n)
		}
	}
	if _, ok := r.cache.Load().Get("keep.test"); !ok {
		t.Error("a name in use was forgotten")
	}
}

func TestLookup_files(t *testing.T) {
	s := serveDNS(t)
	dir := t.TempDir()
	conf, hosts := filepath.Join(dir, "resolv.conf"), filepath.Join(dir, "hosts")
	s.set("web.internal. 60 A 10.0.0.1", "both.test. 60 A 10.0.0.2")
	write(t, conf, "nameserver 127.0.0.1\nsearch internal\n")
	write(t, hosts, "# comment\n10.7.0.1 one.test two.test # more\n10.7.0.2 ONE.test\n2001:db8::7 one.test\n\nrubbish\n300.1.1.1 bad.test\n10.7.0.9 both.test\n")
	r, clock := resolver(t, s, func(c *Config) {
		c.ResolvConf, c.Hosts, c.Order = conf, hosts, []string{"A", "AAAA"}
		c.StaleTTL, c.ValidTTL = 0, time.Hour // which is not for what files say
	})
	want(t, r, "one.test", "A 10.7.0.1 10.7.0.2")
	want(t, r, "two.test", "A 10.7.0.1")
	want(t, r, "both.test", "A 10.7.0.9")
	want(t, r, "web", "A 10.0.0.1")

	write(t, hosts, "10.8.0.1 one.test\n")
	again(r.hosts)
	clock.add(10 * time.Second)
	want(t, r, "one.test", "A 10.8.0.1")
	if err := os.Remove(hosts); err != nil {
		t.Fatal(err)
	}
	again(r.hosts)
	clock.add(10 * time.Second)
	want(t, r, "both.test", "A 10.0.0.2")
}

// again makes a file be looked at by the next that wants it.
func again[T any](f *file[T]) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Time{}
}

func TestReadResolvConf(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"", "[127.0.0.1:53] [] ndots 1 timeout 5 attempts 2"},
		{"nameserver 10.0.0.2\nnameserver fe80::1%eth0\nsearch a.test b.test\noptions ndots:5 timeout:2 attempts:3 rotate\n",
			"[10.0.0.2:53 [fe80::1%eth0]:53] [a.test b.test] ndots 5 timeout 2 attempts 3"},
		{"; comment\ndomain only.test\nrubbish\n", "[127.0.0.1:53] [only.test] ndots 1 timeout 5 attempts 2"},
	} {
		c := readResolvConf(tt.text)
		if got := fmt.Sprintf("%v %v ndots %d timeout %d attempts %d", c.Servers, c.Search, c.Ndots, c.Timeout, c.Attempts); got != tt.want {
			t.Errorf("%q: got %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestNew_errors(t *testing.T) {
	for _, tt := range []struct {
		servers, order []string
		want           string
	}{
		{[]string{"ns.test"}, []string{"A"}, `"ns.test" is not the address of a name server`},
		{[]string{"10.0.0.1:0"}, []string{"A"}, `"10.0.0.1:0" is not`},
		{nil, []string{"A", "MX"}, `unknown kind of record "MX"`},
		{nil, []string{"LAST"}, "no kind of record beside LAST"},
	} {
		c := NewConfig()
		c.Servers, c.Order = tt.servers, tt.order
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v %v: got error %v, want %q", tt.servers, tt.order, err, tt.want)
		}
	}
	for in, want := range map[string]string{"10.0.0.1": "10.0.0.1:53", "10.0.0.1:5353": "10.0.0.1:5353", "::1": "[::1]:53", "[::1]": "[::1]:53", "[::1]:5353": "[::1]:5353"} {
		if got, err := ParseServer(in); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", in, got, err, want)
		}
	}
}

func TestAnswer_turns(t *testing.T) {
	a := NewAnswer("SRV", []Record{{Port: 1, Weight: 0}, {Port: 2, Weight: 3}}, time.Time{})
	got := map[uint16]int{}
	for range 40 {
		got[a.Next().Port]++
	}
	if got[1] != 10 || got[2] != 30 {
		t.Errorf("got %v, want 10 and 30", got)
	}
}

// FuzzAsk gives the asker what a server may send.
func FuzzAsk(f *testing.F) {
	for _, text := range []string{"a.test. 60 A 10.0.0.1", "a.test. 60 SRV 1 2 3 .", "a.test. 60 CNAME a.test.", "a.test. 1 SRV 1 0 80 10.0.0.1."} {
		m := new(wire.Msg)
		m.SetQuestion("a.test.", wire.TypeSRV)
		rr, err := wire.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = []wire.RR{rr}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := new(wire.Msg)
		if m.Unpack(b) != nil {
			return
		}
		// Whatever it names cannot be asked for: there is no server.
		s := &session{families: []string{"A", "AAAA"}}
		for _, kind := range wireKinds {
			found, err := s.read(t.Context(), m, "a.test.", kind, 0)
			if err == nil && len(found.records) == 0 {
				t.Fatalf("%s: neither records nor an error", kind)
			}
			if err == nil {
				NewAnswer(found.kind, found.records, time.Now()).Next()
			}
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	s := serveDNS(b)
	s.set("a.test. 60 A 10.0.0.1", "a.test. 60 A 10.0.0.2")
	r, _ := resolver(b, s)
	r.now = time.Now
	lookup(b, r, "a.test")
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		a, _ := r.Lookup(ctx, "a.test")
		a.Next()
	}
}
