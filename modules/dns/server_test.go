package dns

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
)

func TestMain(m *testing.M) { patient.NoLeaks(m) }

// A server is a real name server on loopback, over UDP and TCP.
type server struct {
	t    testing.TB
	addr string

	mu       sync.Mutex
	zone     map[string][]wire.RR // "name. TYPE"
	rcodes   map[string]int       // the same; instead of an answer
	asked    []string             // "name. TYPE network"
	extra    []wire.RR
	hold     chan struct{} // not nil: answers wait for it
	truncate bool          // what is sent over UDP
	old      bool          // knows no EDNS

	running []*wire.Server
}

func serveDNS(t testing.TB) *server {
	s := &server{t: t, zone: map[string][]wire.RR{}, rcodes: map[string]int{}}
	s.start(fmt.Sprintf("127.0.0.1:%d", ports.Free(t)))
	t.Cleanup(s.stop)
	return s
}

func (s *server) start(addr string) {
	s.t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.addr = addr
	p, err := net.ListenPacket("udp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, server := range []*wire.Server{{Listener: l, Handler: s}, {PacketConn: p, Handler: s}} {
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		go func() { _ = server.ActivateAndServe() }()
		<-ready
		s.running = append(s.running, server)
	}
}

func (s *server) stop() {
	for _, server := range s.running {
		_ = server.Shutdown()
	}
	s.running = nil
}

// set replaces all records of a name and kind.
func (s *server) set(records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := map[string]bool{}
	for _, text := range records {
		rr, err := wire.NewRR(text)
		if err != nil {
			s.t.Fatal(err)
		}
		key := rr.Header().Name + " " + wire.TypeToString[rr.Header().Rrtype]
		if !fresh[key] {
			fresh[key], s.zone[key] = true, nil
		}
		s.zone[key] = append(s.zone[key], rr)
	}
}

func (s *server) do(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) ServeDNS(w wire.ResponseWriter, q *wire.Msg) {
	question := q.Question[0]
	key := strings.ToLower(question.Name) + " " + wire.TypeToString[question.Qtype]
	network := w.RemoteAddr().Network()
	s.mu.Lock()
	s.asked = append(s.asked, key+" "+network)
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(wire.Msg)
	m.SetReply(q)
	rcode, failed := s.rcodes[key]
	switch {
	case s.old && q.IsEdns0() != nil:
		m.Rcode = wire.RcodeFormatError
	case failed:
		m.Rcode = rcode
	default:
		name := strings.ToLower(question.Name)
		for range 4 { // aliases that are known here
			c := s.zone[name+" CNAME"]
			if len(c) == 0 || question.Qtype == wire.TypeCNAME {
				break
			}
			m.Answer = append(m.Answer, c...)
			name = c[0].(*wire.CNAME).Target
		}
		m.Answer = append(m.Answer, s.zone[name+" "+wire.TypeToString[question.Qtype]]...)
		m.Extra = append(m.Extra, s.extra...)
		if len(m.Answer) == 0 && !slices.ContainsFunc(wireKinds, func(k string) bool { return len(s.zone[name+" "+k]) > 0 }) {
			m.Rcode = wire.RcodeNameError
		}
		if s.truncate && network == "udp" {
			m.Truncated, m.Answer = true, m.Answer[:min(1, len(m.Answer))]
		}
	}
	_ = w.WriteMsg(m)
}

var wireKinds = []string{"A", "AAAA", "SRV", "CNAME"}

// take answers what was asked since the last call.
func (s *server) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

// A clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// resolver asks the server, with files of its own and a clock.
func resolver(t testing.TB, s *server, adapt ...func(*Config)) (*Resolver, *clock) {
	t.Helper()
	c := NewConfig()
	c.ResolvConf, c.Hosts = filepath.Join(t.TempDir(), "resolv.conf"), filepath.Join(t.TempDir(), "hosts")
	write(t, c.ResolvConf, "search one.test two.test\noptions timeout:1 attempts:2 ndots:1\n")
	write(t, c.Hosts, "")
	c.Servers = []string{s.addr}
	for _, f := range adapt {
		f(&c)
	}
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	clock := &clock{now: time.Unix(1e9, 0)}
	r.now = clock.Now
	return r, clock
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
