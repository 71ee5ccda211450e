package balancer

import (
	"context"
	"sync"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/dns"
)

// A Resolver finds what names stand for. It remembers what it found, so it may
// be asked as often as one likes.
type Resolver interface {
	Lookup(ctx context.Context, name string) (*dns.Answer, error)
}

// nobody knows no names.
type nobody struct{}

func (nobody) Lookup(_ context.Context, name string) (*dns.Answer, error) {
	return nil, &dns.Error{Name: name, Reason: "there is no resolver"}
}

// A Watcher is told of what a pool consists of: health checks are. The calls
// for one pool come one after the other, those for several may come at once. It
// may call the pool's methods, except Follow and Targets, and must not block.
type Watcher interface {
	// Changed says that the plan or the addresses of a pool are other ones.
	// Peers that no address has any more are left alone from now on.
	Changed(p *Pool, plan *Plan, addresses []*Address)

	// Removed says that the upstream is gone.
	Removed(p *Pool)
}

// Pools has the pool of every upstream of a world. It outlives the
// configurations that read the world. Safe for concurrent use.
type Pools struct {
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  sync.WaitGroup // names that are followed
	slots  chan struct{}  // held while a name is looked up

	mu       sync.Mutex
	m        map[uuid.UUID]*Pool // protected by mu
	fresh    []*Pool             // protected by mu; made since the last Settle
	watcher  Watcher             // protected by mu
	resolver Resolver            // protected by mu
	logger   *zap.Logger         // protected by mu
}

// lookups is how many names of targets are looked up at the same time.
const lookups = 64

// NewPools answers an empty set, which resolves no name until Use tells it how.
// Close it at the end.
func NewPools() *Pools {
	s := &Pools{
		slots:    make(chan struct{}, lookups),
		m:        make(map[uuid.UUID]*Pool),
		resolver: nobody{},
		logger:   zap.NewNop(),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Use says whom to ask for names, and whom to tell, from now on. It may be
// called again: a configuration brings its own.
func (s *Pools) Use(r Resolver, logger *zap.Logger) {
	s.mu.Lock()
	changed := s.resolver != r
	s.resolver, s.logger = r, logger
	var all []*Pool
	if changed {
		for _, p := range s.m {
			all = append(all, p)
		}
	}
	s.mu.Unlock()
	for _, p := range all {
		p.ask()
	}
}

// Watch sets the watcher. It belongs before the first Follow.
func (s *Pools) Watch(w Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watcher = w
}

// Of answers the pool of an upstream, and makes it at first. A new one has no
// addresses until it follows a plan; see Settle.
func (s *Pools) Of(upstream uuid.UUID) *Pool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.m[upstream]; p != nil {
		return p
	}
	p := &Pool{ID: upstream, pools: s, peers: make(map[PeerKey]*Peer)}
	s.m[upstream] = p
	s.fresh = append(s.fresh, p)
	return p
}

// Get answers the pool of an upstream, if there is one.
func (s *Pools) Get(upstream uuid.UUID) (*Pool, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.m[upstream]
	return p, ok
}

// Settle forgets the pools that were made since the last call and follow
// nothing: the change that wanted them was refused.
func (s *Pools) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.fresh {
		if p.table.Load() == nil {
			delete(s.m, p.ID)
		}
	}
	s.fresh = nil
}

// Close ends what goes on in the background, and waits for it. The pools keep
// the addresses that they have.
func (s *Pools) Close() {
	s.cancel()
	s.tasks.Wait()
}

func (s *Pools) drop(p *Pool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[p.ID] == p {
		delete(s.m, p.ID)
	}
}

func (s *Pools) means() (Resolver, *zap.Logger, Watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.resolver, s.logger, s.watcher
}
