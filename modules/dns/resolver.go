package dns

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wire "github.com/miekg/dns"

	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// A Resolver finds the addresses behind names, as Kong's DNS client does
// (kong/resty/dns/client.lua), and remembers them.
//
// Names of the hosts file come first, then the servers are asked for the kinds
// of records in order, for each name of the search list. An answer is good for
// as long as its records say. After that it is used on while it is asked for
// anew in the background and, if no server knows an answer, for StaleTTL. A name
// is asked for once at a time, however many want it. Safe for concurrent use.
type Resolver struct {
	config   Config
	servers  []string // nil: those of conf
	families []string // A and AAAA, in order
	conf     *file[*wire.ClientConfig]
	hosts    *file[hosts]
	now      func() time.Time // a clock, for tests

	cache atomic.Pointer[trie.Map[*entry]] // written under mu, by name in lower case

	mu     sync.Mutex
	closed bool            // protected by mu
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // names that are being asked for
}

// An entry is what is known of a name.
type entry struct {
	name  string
	used  atomic.Int64 // when it was asked for, in seconds
	known atomic.Pointer[knowledge]

	mu     sync.Mutex
	flight chan struct{} // protected by mu; closed at the end of the asking under way, nil if there is none
}

// knowledge is an answer or why there is none. It is immutable.
type knowledge struct {
	answer *Answer
	err    error
	fresh  time.Time // until then nobody is asked
	stale  time.Time // until then the answer may be used
	kind   string    // of the last records that there were
}

// New makes a resolver. It asks nobody until there is something to ask. The
// error names what cannot be understood.
func New(c Config) (*Resolver, error) {
	r := &Resolver{config: c, now: time.Now}
	for _, s := range c.Servers {
		server, err := ParseServer(s)
		if err != nil {
			return nil, err
		}
		r.servers = append(r.servers, server)
	}
	var err error
	if r.config.Order, err = ParseOrder(c.Order); err != nil {
		return nil, err
	}
	for _, kind := range r.config.Order {
		if kind == "A" || kind == "AAAA" {
			r.families = append(r.families, kind)
		}
	}
	if r.families == nil {
		r.families = []string{"A"}
	}
	r.conf, r.hosts = newFile(c.ResolvConf, readResolvConf), newFile(c.Hosts, readHosts)
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.cache.Store(new(trie.Map[*entry]))
	return r, nil
}

// Close ends what goes on in the background, and waits for it.
func (r *Resolver) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.tasks.Wait()
}

// Lookup answers what a name stands for; an address stands for itself. It waits
// for servers, at most until ctx ends, if nothing is known that may be used. The
// error is an *Error.
func (r *Resolver) Lookup(ctx context.Context, name string) (*Answer, error) {
	now := r.now()
	e := r.entry(name, now)
	if e == nil {
		ip, _ := Literal(name)
		return NewAnswer(kindOf(ip), []Record{{IP: ip}}, now.Add(maxTTL*time.Second)), nil
	}
	k := e.known.Load()
	if k != nil && now.Before(k.fresh) {
		return k.answer, k.err
	}
	done := r.renew(e)
	if k != nil && k.answer != nil && now.Before(k.stale) {
		return k.answer, nil
	}
	select {
	case <-done:
		k = e.known.Load()
		return k.answer, k.err
	case <-ctx.Done():
		return nil, &Error{Name: name, Reason: context.Cause(ctx).Error()}
	}
}

// entry is that of a name; nil if the name is an address.
func (r *Resolver) entry(name string, now time.Time) *entry {
	key := strings.ToLower(name)
	e, ok := r.cache.Load().Get(key)
	if !ok {
		if _, ok := Literal(name); ok {
			return nil
		}
		e = r.add(key, now)
	}
	if s := now.Unix(); e.used.Load() != s {
		e.used.Store(s)
	}
	return e
}

func (r *Resolver) add(key string, now time.Time) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	edit := r.cache.Load().Edit()
	if e, ok := edit.Get(key); ok {
		return e
	}
	e := &entry{name: key}
	e.used.Store(now.Unix())
	if edit.Len() >= max(r.config.CacheSize, 1) {
		r.evict(edit)
	}
	edit.Put(key, e)
	m := edit.Map()
	r.cache.Store(&m)
	return e
}

// evict removes an eighth of the names: those that were not asked for the
// longest. The caller holds mu.
func (r *Resolver) evict(edit *trie.Edit[*entry]) {
	all := slices.Collect(edit.Map().Values())
	slices.SortFunc(all, func(a, b *entry) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	for _, e := range all[:len(all)/8+1] {
		edit.Delete(e.name)
	}
}

// renew asks for a name, unless that is going on already, and answers what is
// closed at the end.
func (r *Resolver) renew(e *entry) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != nil {
		return e.flight
	}
	done := make(chan struct{})
	e.flight = done
	task := func() {
		before := e.known.Load()
		if before == nil {
			before = new(knowledge)
		}
		f, err := r.find(e.name, before.kind)
		e.known.Store(r.judge(before, e.name, f, err))
		e.mu.Lock()
		e.flight = nil
		e.mu.Unlock()
		close(done)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		e.known.CompareAndSwap(nil, &knowledge{err: &Error{Name: e.name, Reason: "the resolver is closed"}})
		e.flight = nil
		close(done)
		return done
	}
	r.tasks.Go(task)
	return done
}

// judge is what is known after f was found, or nothing was.
func (r *Resolver) judge(before *knowledge, name string, f *found, err error) *knowledge {
	now := r.now()
	if err == nil {
		ttl := time.Duration(min(f.ttl, maxTTL)) * time.Second
		if r.config.ValidTTL > 0 && !f.local {
			ttl = r.config.ValidTTL
		}
		a := NewAnswer(f.kind, f.records, now.Add(ttl))
		if before.answer != nil { // turns go on
			a.turns.Store(before.answer.turns.Load())
		}
		return &knowledge{answer: a, fresh: a.Expires, stale: a.Expires.Add(r.config.StaleTTL), kind: f.kind}
	}
	failed := &Error{Name: name, Reason: err.Error()}
	var cause *Error
	if errors.As(err, &cause) {
		failed.Reason, failed.NotFound = cause.Reason, cause.NotFound
	}
	switch {
	case failed.NotFound: // which is an answer, too
		return &knowledge{err: failed, fresh: now.Add(r.config.NotFoundTTL), kind: before.kind}
	case before.answer != nil && now.Before(before.stale):
		k := *before
		k.fresh = now.Add(r.config.ErrorTTL)
		return &k
	}
	return &knowledge{err: failed, fresh: now.Add(r.config.ErrorTTL), kind: before.kind}
}

// find asks for a name, beginning with the kind of records that it had the last
// time. That one name of the search list, or one kind of records, does not exist
// or is refused does not keep it from the others: servers that know hosts alone
// say much about SRV records.
func (r *Resolver) find(name, last string) (*found, error) {
	conf := r.conf.get()
	s := &session{
		servers:  r.servers,
		attempts: conf.Attempts,
		timeout:  time.Duration(conf.Timeout) * time.Second,
		hosts:    r.hosts.get(),
		families: r.families,
	}
	if s.servers == nil {
		s.servers = conf.Servers
	}
	if f := s.known(name, r.families); f != nil {
		return f, nil
	}
	var failure error
	for _, full := range conf.NameList(name) {
		for _, kind := range r.order(last) {
			f, err := s.ask(r.ctx, full, kind, 0)
			if err == nil {
				return f, nil
			}
			if errors.Is(err, errUnreachable) || r.ctx.Err() != nil {
				return nil, err
			}
			if failure == nil || isNotFound(failure) && !isNotFound(err) {
				failure = err
			}
		}
	}
	return nil, failure
}

func isNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.NotFound
}

// order is the kinds of records to ask for.
func (r *Resolver) order(last string) []string {
	kinds := make([]string, 0, len(r.config.Order))
	for _, kind := range r.config.Order {
		if kind == "LAST" {
			kind = last
		}
		if kind != "" && !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// Literal reads a name that is an address, with or without brackets.
func Literal(name string) (netip.Addr, bool) {
	if n := len(name); n > 2 && name[0] == '[' && name[n-1] == ']' {
		name = name[1 : n-1]
	}
	ip, err := netip.ParseAddr(name)
	return ip.Unmap(), err == nil
}
