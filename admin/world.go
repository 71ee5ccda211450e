package admin

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer/health"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// World is what the endpoints need of the node behind them. Tests put other
// worlds in its place.
type World interface {
	Writer

	// View answers the world as it is now. It never changes.
	View() View

	// Catalog answers the tables that the world is made of.
	Catalog() *entity.Catalog

	// ReadOnly reports whether entities change only by loading a whole
	// configuration.
	ReadOnly() bool

	// Database is the store's name for Kong's `configuration.database`.
	Database() string

	// ID identifies the process.
	ID() uuid.UUID

	// Problems lists rows that could not be read or compiled, at most max.
	Problems(max int) []node.Problem

	// Health tells how an upstream and its targets are. It may wait until ctx
	// ends for the addresses of targets that are new.
	Health(ctx context.Context, upstream uuid.UUID) health.Report

	// SetHealth makes an address of a target, or with the zero address all
	// that it has, healthy or unhealthy until checks find otherwise. The error
	// is health.ErrNoChecks or health.ErrNoAddress.
	SetHealth(upstream, target uuid.UUID, address netip.AddrPort, healthy bool) error

	// Explain tells which route a request would take, and why others would
	// not, as a value for JSON.
	Explain(ExplainRequest) any

	// ExplainStream does the same for a TCP connection or UDP session.
	ExplainStream(ExplainFlow) any
}

// Writer changes the world. Its methods return when the data path sees the
// change, or with an error when nothing changed; errors that clients may read
// are *schema.Error.
type Writer interface {
	// Write runs fn in a transaction and keeps the result.
	Write(ctx context.Context, fn func(*store.Tx) error) error

	// Try does all that Write does but keeps nothing.
	Try(ctx context.Context, fn func(*store.Tx) error) error

	// Load is a Write that replaces the whole configuration by one with the
	// hash given.
	Load(ctx context.Context, hash string, fn func(*store.Tx) error) error
}

// View is the part of the world that the endpoints read.
type View struct {
	Image *store.Image

	// Hash is that of the declarative configuration that was loaded last; 32
	// zeros if none was.
	Hash string
}

// nodeWorld is the world of a node.
type nodeWorld struct{ *node.Node }

// View answers the world as it is now.
func (w nodeWorld) View() View {
	v := w.Node.View()
	return View{Image: v.Image, Hash: v.Hash}
}

// Explain asks the node's router.
func (w nodeWorld) Explain(req ExplainRequest) any {
	return explain(w.Node.Explain, req)
}

// ExplainStream asks the node's router.
func (w nodeWorld) ExplainStream(flow ExplainFlow) any {
	return explainStream(w.Node.ExplainStream, flow)
}

// question is the router's type for a request. This package does not know the
// router; it is enough that ExplainRequest has the same fields.
type question interface {
	~struct {
		Method              string
		Host                string
		Path                string
		Header              http.Header
		TLS                 bool
		SNI                 string
		Source, Destination netip.AddrPort
	}
}

// maxNearMisses bounds how many routes an explanation names besides the one
// that is taken.
const maxNearMisses = 10

func explain[Q question, E any](ask func(*Q, int) E, req ExplainRequest) E {
	q := Q(req)
	return ask(&q, maxNearMisses)
}

// streamQuestion is the router's type for a flow.
type streamQuestion interface {
	~struct {
		Protocol            string
		SNI                 string
		Source, Destination netip.AddrPort
	}
}

func explainStream[Q streamQuestion, E any](ask func(*Q, int) E, flow ExplainFlow) E {
	q := Q(flow)
	return ask(&q, maxNearMisses)
}

// Interface guard
var _ World = nodeWorld{}
