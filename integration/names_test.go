package integration

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// A nameServer answers SRV questions on loopback: each name stands for one
// place, whose host is described beside it.
type nameServer struct {
	t    testing.TB
	addr string

	mu     sync.Mutex
	places map[string]*net.TCPAddr // by name with its dot at the end; protected by mu
	server *dns.Server             // nil: nobody answers

	// Whether it tells the addresses of the names too, not only their SRV
	// records; it then answers over TCP.
	addresses bool
}

func (s *nameServer) start() {
	s.t.Helper()
	ready := make(chan struct{})
	s.server = &dns.Server{Handler: s, NotifyStartedFunc: func() { close(ready) }}
	var err error
	if s.addresses {
		s.server.Listener, err = net.Listen("tcp", s.addr)
	} else {
		s.server.PacketConn, err = net.ListenPacket("udp", s.addr)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	go func() { _ = s.server.ActivateAndServe() }()
	<-ready
}

func (s *nameServer) stop() {
	if s.server != nil {
		_ = s.server.Shutdown()
		s.server = nil
	}
}

func (s *nameServer) set(name, place string) {
	addr, err := net.ResolveTCPAddr("tcp", strings.TrimPrefix(place, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places[name] = addr
}

func (s *nameServer) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	s.mu.Lock()
	defer s.mu.Unlock()
	name := strings.ToLower(q.Question[0].Name)
	switch place := s.places[name]; {
	case place == nil:
		m.Rcode = dns.RcodeNameError
	case s.addresses && q.Question[0].Qtype == dns.TypeA:
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: place.IP}}
	case q.Question[0].Qtype == dns.TypeSRV:
		head := func(name string, kind uint16) dns.RR_Header {
			return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 1}
		}
		m.Answer = []dns.RR{&dns.SRV{Hdr: head(name, dns.TypeSRV), Weight: 1, Port: uint16(place.Port), Target: "host." + name}}
		m.Extra = []dns.RR{&dns.A{Hdr: head("host."+name, dns.TypeA), A: place.IP}}
	}
	_ = w.WriteMsg(m)
}

// TestNames_areFollowedWhereverTheyGo moves a service and a target from one
// server to another, lets the name server die and return, and reloads in between.
func TestNames_areFollowedWhereverTheyGo(t *testing.T) {
	h := newHome(t, strings.Replace(usual, "gateway {", "gateway {\n\t\tdns_resolver 127.0.0.1:{$SITE}", 1))
	place := func(name string) string {
		return upstream(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s for %s", name, r.Host) }).URL
	}
	one, two := place("one"), place("two")
	names := &nameServer{t: t, addr: h.addr("SITE"), places: map[string]*net.TCPAddr{}}
	t.Cleanup(names.stop)
	names.set("app.test.", one)
	names.set("plain.test.", one)
	names.start()

	p := h.start()
	p.admin("POST", "/upstreams", `{"name":"pool"}`, 201)
	p.admin("POST", "/upstreams/pool/targets", `{"target":"app.test:1"}`, 201)
	for _, name := range []string{"pool", "plain.test", "nowhere.test"} {
		p.admin("POST", "/services", `{"name":"`+name+`","host":"`+name+`"}`, 201)
		p.admin("POST", "/services/"+name+"/routes", `{"name":"`+name+`","paths":["/`+name+`"]}`, 201)
	}
	is := func(where, path, host string) {
		t.Helper()
		if got := p.get(path, 200).body; !strings.HasPrefix(got, where+" for "+host+":") {
			t.Errorf("%s came to %s, want %s for %s", path, got, where, host)
		}
	}
	becomes := func(where, path string) {
		t.Helper()
		patient.Until(t, path+" comes to "+where, func() bool { return strings.HasPrefix(p.get(path, 200).body, where) })
	}
	is("one", "/pool", "app.test")
	is("one", "/plain.test", "plain.test")
	if got := p.get("/nowhere.test", 503).body; !strings.Contains(got, "name resolution failed") {
		t.Errorf("a name that does not exist: got %s", got)
	}

	names.set("app.test.", two)
	names.set("plain.test.", two)
	becomes("two", "/pool")
	becomes("two", "/plain.test")

	names.stop()
	for range 3 { // what was known lives on, also in the next configuration
		p.reload()
		is("two", "/pool", "app.test")
		is("two", "/plain.test", "plain.test")
	}
	names.set("app.test.", one)
	names.set("plain.test.", one)
	names.start()
	becomes("one", "/pool")
	becomes("one", "/plain.test")
}
