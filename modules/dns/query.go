package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	wire "github.com/miekg/dns"
)

// udpSize is the largest answer that is taken over UDP, in bytes: it fits into a
// packet everywhere (DNS flag day 2020). Larger ones are asked for over TCP.
const udpSize = 1232

// maxCNAMEs is how many aliases are followed from one answer to the next.
const maxCNAMEs = 8

// errUnreachable is in the error if no server gave any answer.
var errUnreachable = errors.New("no name server answers")

// found is what was asked for, before it is an Answer.
type found struct {
	kind    string
	records []Record
	ttl     uint32 // seconds: the least of all records on the way
	local   bool   // the hosts file says so
}

// notFound is the error for names without records of the kind.
func notFound(name, reason string) error { return &Error{Name: name, Reason: reason, NotFound: true} }

// A session is the asking for one name: with the servers that there are now.
type session struct {
	servers  []string
	attempts int
	timeout  time.Duration
	hosts    hosts
	families []string // A and AAAA in order, for hosts that SRV records name
}

// ask looks for one kind of records of a full name.
func (s *session) ask(ctx context.Context, name, kind string, aliases int) (*found, error) {
	msg, err := s.query(ctx, name, wire.StringToType[kind])
	if err != nil {
		return nil, err
	}
	return s.read(ctx, msg, name, kind, aliases)
}

// read finds the records in an answer, or behind the aliases that it tells.
func (s *session) read(ctx context.Context, msg *wire.Msg, name, kind string, aliases int) (*found, error) {
	qtype := wire.StringToType[kind]
	end, ttl := aliasOf(msg.Answer, name)
	f := &found{kind: kind, ttl: ttl}
	var services []*wire.SRV
	for _, rr := range msg.Answer {
		h := rr.Header()
		if h.Rrtype != qtype || !strings.EqualFold(h.Name, end) {
			continue
		}
		switch rr := rr.(type) {
		case *wire.A:
			f.add(rr.A, h.Ttl)
		case *wire.AAAA:
			f.add(rr.AAAA, h.Ttl)
		case *wire.SRV:
			services = append(services, rr)
		}
	}
	switch {
	case len(services) > 0:
		return s.serve(ctx, f, services, msg.Extra)
	case len(f.records) > 0:
		return f, nil
	case msg.Rcode == wire.RcodeNameError:
		return nil, notFound(name, "dns server error: 3 name error")
	case strings.EqualFold(end, name):
		return nil, notFound(name, "dns client error: 101 empty record received")
	case aliases == maxCNAMEs:
		return nil, &Error{Name: name, Reason: "dns client error: 105 too many aliases"}
	}
	// The server told the alias, but not what is behind it.
	kinds := []string{kind}
	if kind == "CNAME" {
		kinds = s.families
	}
	var err error
	for _, kind := range kinds {
		behind, e := s.ask(ctx, end, kind, aliases+1)
		if e == nil {
			behind.ttl = min(behind.ttl, f.ttl)
			return behind, nil
		}
		err = e
	}
	return nil, err
}

func (f *found) add(ip []byte, ttl uint32) {
	if addr, ok := netip.AddrFromSlice(ip); ok {
		f.records = append(f.records, Record{IP: addr.Unmap()})
		f.ttl = min(f.ttl, ttl)
	}
}

// serve turns SRV records into places: those of the lowest priority, with the
// addresses of the hosts that they name. A host's weight is divided among its
// addresses, each of which has at least 1.
func (s *session) serve(ctx context.Context, f *found, services []*wire.SRV, extra []wire.RR) (*found, error) {
	priority := services[0].Priority
	for _, srv := range services {
		priority = min(priority, srv.Priority)
	}
	places := make([]*found, len(services))
	errs := make([]error, len(services))
	var wg sync.WaitGroup
	for i, srv := range services {
		if srv.Priority != priority || srv.Target == "." { // the dot: not offered (RFC 2782)
			continue
		}
		if places[i] = beside(extra, srv.Target, s.families); places[i] == nil {
			wg.Go(func() { places[i], errs[i] = s.addresses(ctx, srv.Target) })
		}
	}
	wg.Wait()
	for i, srv := range services {
		if places[i] == nil {
			continue
		}
		f.ttl = min(f.ttl, srv.Hdr.Ttl, places[i].ttl)
		n, weight := len(places[i].records), max(int(srv.Weight), 1)
		for j, r := range places[i].records {
			share := weight / n
			if j < weight%n {
				share++
			}
			f.records = append(f.records, Record{IP: r.IP, Port: srv.Port, Weight: max(share, 1), Name: canonical(srv.Target)})
		}
	}
	if len(f.records) > 0 {
		return f, nil
	}
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("hosts of the SRV records: %w", err)
		}
	}
	return nil, notFound(services[0].Hdr.Name, "dns client error: 101 empty record received")
}

// addresses looks for the addresses of a host that a record names.
func (s *session) addresses(ctx context.Context, name string) (f *found, err error) {
	if ip, ok := Literal(canonical(name)); ok {
		return &found{records: []Record{{IP: ip}}, ttl: maxTTL}, nil
	}
	if f := s.known(name, s.families); f != nil {
		return f, nil
	}
	for _, kind := range s.families {
		if f, err = s.ask(ctx, name, kind, 0); err == nil {
			return f, nil
		}
	}
	return nil, err
}

// known is what the hosts file says of a name; nil if nothing.
func (s *session) known(name string, kinds []string) *found {
	of := s.hosts[canonical(name)]
	for _, kind := range kinds {
		if ips := of[kind]; len(ips) > 0 {
			f := &found{kind: kind, ttl: uint32(2 * lookAgain / time.Second), local: true}
			for _, ip := range ips {
				f.records = append(f.records, Record{IP: ip})
			}
			return f
		}
	}
	return nil
}

// beside finds the addresses of a name among additional records.
func beside(extra []wire.RR, name string, kinds []string) *found {
	for _, kind := range kinds {
		f := &found{kind: kind, ttl: maxTTL}
		for _, rr := range extra {
			if h := rr.Header(); h.Rrtype != wire.StringToType[kind] || !strings.EqualFold(h.Name, name) {
				continue
			}
			switch rr := rr.(type) {
			case *wire.A:
				f.add(rr.A, rr.Hdr.Ttl)
			case *wire.AAAA:
				f.add(rr.AAAA, rr.Hdr.Ttl)
			}
		}
		if len(f.records) > 0 {
			return f
		}
	}
	return nil
}

// maxTTL is the longest lifetime, in seconds (RFC 2181, section 8).
const maxTTL = 1<<31 - 1

// aliasOf follows the aliases of a name as far as an answer tells them.
func aliasOf(answer []wire.RR, name string) (end string, ttl uint32) {
	end, ttl = name, maxTTL
	for range answer { // no chain is longer, and a ring ends
		for _, rr := range answer {
			if c, ok := rr.(*wire.CNAME); ok && strings.EqualFold(c.Hdr.Name, end) {
				end, ttl = c.Target, min(ttl, c.Hdr.Ttl)
				break
			}
		}
	}
	return end, ttl
}

// query asks the servers, one after the other, until one knows that there are
// records or that there are none.
func (s *session) query(ctx context.Context, name string, qtype uint16) (*wire.Msg, error) {
	var refused, unreachable error
	for range s.attempts {
		for _, server := range s.servers {
			msg, err := s.exchange(ctx, name, qtype, server)
			if ctx.Err() != nil {
				return nil, &Error{Name: name, Reason: ctx.Err().Error()}
			}
			switch {
			case err != nil:
				unreachable = fmt.Errorf("%w: %v", errUnreachable, err)
			case msg.Rcode == wire.RcodeSuccess, msg.Rcode == wire.RcodeNameError:
				return msg, nil
			default:
				refused = &Error{Name: name, Reason: fmt.Sprintf("dns server error: %d %s", msg.Rcode, rcodeText(msg.Rcode))}
			}
		}
	}
	if refused != nil {
		return nil, refused
	}
	if unreachable == nil {
		unreachable = errUnreachable
	}
	return nil, unreachable
}

// rcodeText is what Kong calls an error of a server.
func rcodeText(rcode int) string {
	switch rcode {
	case wire.RcodeFormatError:
		return "format error"
	case wire.RcodeServerFailure:
		return "server failure"
	case wire.RcodeNotImplemented:
		return "not implemented"
	case wire.RcodeRefused:
		return "refused"
	}
	return strings.ToLower(wire.RcodeToString[rcode])
}

// exchange asks one server: over UDP, and over TCP if the answer does not fit.
func (s *session) exchange(ctx context.Context, name string, qtype uint16, server string) (*wire.Msg, error) {
	q := new(wire.Msg)
	q.SetQuestion(wire.Fqdn(name), qtype)
	q.SetEdns0(udpSize, false)
	msg, err := s.over(ctx, "udp", q, server)
	if err == nil && msg.Rcode == wire.RcodeFormatError { // perhaps it is too old for EDNS
		q.Extra = nil
		msg, err = s.over(ctx, "udp", q, server)
	}
	if err == nil && msg.Truncated {
		msg, err = s.over(ctx, "tcp", q, server)
	}
	return msg, err
}

func (s *session) over(ctx context.Context, network string, q *wire.Msg, server string) (*wire.Msg, error) {
	c := wire.Client{Net: network, Timeout: s.timeout, UDPSize: udpSize}
	conn, err := c.DialContext(ctx, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // the library waits on
	msg, _, err := c.ExchangeWithConnContext(ctx, q, conn)
	if err != nil {
		return nil, err
	}
	asked := q.Question[0]
	if !msg.Response || len(msg.Question) != 1 || msg.Question[0].Qtype != asked.Qtype || !strings.EqualFold(msg.Question[0].Name, asked.Name) {
		return nil, fmt.Errorf("%s answered another question", server)
	}
	return msg, nil
}
