package stream

import (
	"crypto/tls"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/node"
)

// An Engine passes flows to the services of their routes. It belongs to one
// configuration; flows that began with it keep it until they end.
type Engine struct {
	node     *node.Node
	options  *gateway.Options
	logger   *zap.Logger
	resolver balancer.Resolver // of services' hosts
	access   *zap.Logger       // nil: no access log
	tls      *tls.Config       // for connections that are terminated
	hello    time.Duration     // for PROXY header, ClientHello and handshake

	maxSessions int           // of UDP, for each listener
	grace       time.Duration // of a listener that is closed; 0: without limit

	refs    atomic.Int64 // one for whoever made it, one for each flow
	release func()       // called once, when refs is 0
}

// open makes the engine usable. Release is called when it was dropped and its
// last flow has ended.
func (e *Engine) open(release func()) {
	e.refs.Store(1)
	know(e)
	e.release = func() {
		forget(e)
		release()
	}
}

// hold keeps the engine for a flow. It fails if the engine is closed and its
// last flow has ended.
func (e *Engine) hold() bool {
	for {
		n := e.refs.Load()
		if n == 0 {
			return false
		}
		if e.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// drop gives the engine back.
func (e *Engine) drop() {
	if e.refs.Add(-1) == 0 && e.release != nil {
		e.release()
	}
}

// dropAside does the same for those who may not wait.
func (e *Engine) dropAside() {
	if e.refs.Add(-1) == 0 && e.release != nil {
		go e.release()
	}
}
