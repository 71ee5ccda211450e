package plugin

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A Directory answers rows of entities, all of one moment. The store's image is
// one. [Find], [Get] and [Children] read it with types.
type Directory interface {
	Get(table string, id uuid.UUID) (*store.Row, bool)
	ByKey(table, field, value string) (*store.Row, bool)
	AscendChildren(table, field string, parent, after uuid.UUID, yield func(*store.Row) bool)
}

// Find answers the row whose unique field has the value. It takes one step in an
// index, and decodes a row once in its life: do not change what it answers.
func Find[T any](d Directory, table, field, value string) (*T, bool) {
	row, ok := d.ByKey(table, field, value)
	return typed[T](row, ok)
}

// Get answers the row with the identifier, as Find does.
func Get[T any](d Directory, table string, id uuid.UUID) (*T, bool) {
	row, ok := d.Get(table, id)
	return typed[T](row, ok)
}

// Children yields the rows of a table whose foreign field refers to the parent,
// as Find does.
func Children[T any](d Directory, table, field string, parent uuid.UUID) func(func(*T) bool) {
	return func(yield func(*T) bool) {
		d.AscendChildren(table, field, parent, uuid.Nil, func(r *store.Row) bool {
			v, ok := typed[T](r, true)
			return !ok || yield(v)
		})
	}
}

func typed[T any](r *store.Row, ok bool) (*T, bool) {
	if !ok {
		return nil, false
	}
	v, err := store.View[T](r)
	return v, err == nil
}

// A Host is the engine that an Exchange is in.
type Host interface {
	// Forward passes the request to the route's service and writes the
	// response, or the answer if there is no service.
	Forward()

	// Current answers the writer of the response and the request.
	Current() (http.ResponseWriter, *http.Request)

	// Replace puts another writer and request in the place of those before,
	// for what follows.
	Replace(http.ResponseWriter, *http.Request)

	// Answer writes the answer of a plugin.
	Answer(*Answer)

	// UpstreamURI is the path and query for the service, also if it was not asked;
	// empty: there is none.
	UpstreamURI() string

	// Heading is called before the header filters and the head of a response.
	Heading(status int)
}

// An Exchange is one request on its way through the gateway and its response on
// the way back, as plugins see them (in Kong, the PDK). It belongs to one
// goroutine and is used again when the request is over, and so may be the request,
// its headers and their lists of values: keep nothing of it but texts, and not even
// these if the plugin says that it Forgets. Only Middleware may keep the request that
// it got, and what is in it.
type Exchange struct {
	ID       string         // of the request: 32 hexadecimal digits
	Client   netip.AddrPort // who asks, by trusted_ips and real_ip_header; invalid on a Unix socket
	Start    time.Time
	Scheme   string // that the client used, as far as a trusted peer says: http or https
	Hostname string // of the Host header: without port, in lower case
	Port     string // that the request arrived on

	Route     *entity.Route   // nil in the phase rewrite, and if none matched
	Service   *entity.Service // nil: none
	Captures  router.Captures // of the regular expression in the route's path
	Directory Directory
	Logger    *zap.Logger

	// Who asks, once a plugin has authenticated; see Authenticate.
	Consumer   *entity.Consumer
	Credential *Credential
	Groups     []string // that a plugin other than acl says the client belongs to

	// Shared is what plugins tell each other, by name (kong.ctx.shared). It is
	// nil until a plugin makes it.
	Shared map[string]any

	// Outcome is what became of the request, in the phase log.
	Outcome Outcome

	host     Host
	request  *http.Request
	head     *http1.Head // that the request's Header is made of; nil: it has one
	noted    []Noted
	upstream Upstream
	writer   Writer
	run      run
	answered bool // by a plugin
}

// Noted is what a plugin adds to the entry of a request in logs.
type Noted struct {
	Name  string
	Value any // that JSON can tell
}

// Note adds a value to the entry of the request in logs, or replaces it
// (kong.log.set_serialize_value).
func (x *Exchange) Note(name string, value any) { x.noted = append(x.noted, Noted{name, value}) }

// Noted are all values that plugins have noted; later ones count.
func (x *Exchange) Noted() []Noted { return x.noted }

// Outcome is what became of a request.
type Outcome struct {
	Status         int
	UpstreamStatus int   // 0: there was no response of an upstream
	RequestSize    int64 // bytes of head and body
	ResponseSize   int64
	BodySent       int64 // bytes of the response's body
	Tries          []Try

	Request time.Duration // from the request's head to the end of the response
	Gateway time.Duration // spent in the gateway: Kong's latencies.kong
	Proxy   time.Duration // until the upstream's head came; below 0: not passed on
	Receive time.Duration // from there to the end of the response

	FromUpstream bool // the response is an upstream's: Kong's source
}

// A Try is one attempt to reach a target.
type Try struct {
	Address  string        // "ip:port"
	Start    time.Time     // when the choice of an address began
	Duration time.Duration // that the choice took
	State    string        // failed, or empty
	Code     int           // the status that a failed try stands for; 0: none
}

var exchanges = sync.Pool{New: func() any { return new(Exchange) }}

// Begin answers an exchange for a request that chains may act on. End must
// follow.
func Begin(h Host, g *Globals) *Exchange {
	x := exchanges.Get().(*Exchange)
	x.host, x.run.globals = h, g
	return x
}

// End gives the exchange back.
func (x *Exchange) End() {
	r, w := x.run, x.writer.reset()
	r.reset()
	tries, noted, edits := x.Outcome.Tries, x.noted, x.upstream.edits
	clear(tries)
	clear(noted)
	clear(edits)
	*x = Exchange{run: r, writer: w, noted: noted[:0]}
	x.upstream.edits = edits[:0]
	x.Outcome.Tries = tries[:0]
	exchanges.Put(x)
}

// Set keeps a value for the plugin that is running, for its later phases on the
// same request.
func (x *Exchange) Set(v any) { x.run.slots[x.run.at] = v }

// Value answers what the plugin that is running has Set, or nil.
func (x *Exchange) Value() any { return x.run.slots[x.run.at] }

// ClientIP is the client's address as text; "unix:" if it has none.
func (x *Exchange) ClientIP() string {
	if !x.Client.IsValid() {
		return "unix:"
	}
	return x.Client.Addr().String()
}

// Rewrite runs the phase of that name.
func (c *Chain) Rewrite(x *Exchange) error {
	if c == nil || !c.rewrites {
		return nil
	}
	x.run.begin(c)
	defer x.run.forget()
	for i := range c.steps {
		in := x.run.choose(c, i, nil)
		if in == nil || in.rewrite == nil {
			continue
		}
		x.run.at = i
		if err := in.rewrite.Rewrite(x); err != nil {
			return in.explain(err)
		}
	}
	return nil
}

// forget drops what belongs to another chain than the one to come.
func (r *run) forget() {
	clear(r.chosen)
	clear(r.slots)
}

// Rewrites reports whether a plugin acts in the phase rewrite.
func (c *Chain) Rewrites() bool { return c != nil && c.rewrites }

// Wrap answers the writer that the response has to be written to, so that
// filters see it.
func (c *Chain) Wrap(x *Exchange, w http.ResponseWriter) http.ResponseWriter {
	x.run.begin(c)
	if !c.wraps {
		x.writer.to = w
		return w
	}
	return x.writer.begin(c, x, w)
}

// Access runs the phase of that name, and then passes the request on. The error
// is what the request has to be answered with, an [*Answer] or a failure.
func (c *Chain) Access(x *Exchange) error { return c.access(x, 0) }

// Skip settles which plugins see the response, for a request that was answered
// without the phase access.
func (c *Chain) Skip(x *Exchange) { x.run.rest(c, 0, x.Consumer) }

func (c *Chain) access(x *Exchange, from int) error {
	for position := from; position < len(c.steps); position++ {
		i := c.turn(position)
		in := x.run.choose(c, i, x.Consumer)
		x.run.turns = position + 1
		switch {
		case in == nil:
			continue
		case in.err != nil:
			x.run.rest(c, position+1, x.Consumer)
			return in.explain(in.err)
		case in.access != nil:
			x.run.at = i
			if err := in.access.Access(x); err != nil {
				x.run.rest(c, position+1, x.Consumer)
				return in.explain(err)
			}
		case in.middleware != nil:
			x.run.at = i
			x.Request() // has a Header from now on
			w, r := x.host.Current()
			err := in.middleware.Around(x, w, r, func(w http.ResponseWriter, r *http.Request) error {
				x.Accept(r, nil)
				x.host.Replace(w, r)
				err := c.access(x, position+1)
				if a, ok := errors.AsType[*Answer](err); ok {
					x.host.Answer(a)
					return nil
				}
				return err
			})
			x.Accept(r, nil)
			x.host.Replace(w, r)
			x.run.rest(c, position+1, x.Consumer)
			return in.explain(err)
		}
	}
	x.host.Forward()
	return nil
}

// A Failure is an error of a plugin that is no answer.
type Failure struct {
	Plugin string
	ID     uuid.UUID
	Err    error
}

func (f *Failure) Error() string { return fmt.Sprintf("plugin %s: %v", f.Plugin, f.Err) }

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// explain says of an error whose it is, unless it is an answer.
func (in *Instance) explain(err error) error {
	if err == nil {
		return nil
	}
	if _, answered := errors.AsType[*Answer](err); answered {
		return err
	}
	if _, explained := errors.AsType[*Failure](err); explained {
		return err
	}
	return &Failure{Plugin: in.Name, ID: in.ID, Err: err}
}

// Logs reports whether a plugin may act in the phase log.
func (c *Chain) Logs() bool { return c != nil && c.logs }

// Log runs the phase of that name.
func (c *Chain) Log(x *Exchange) {
	for i, in := range x.run.chosen {
		if in != nil && in.log != nil {
			x.run.at = i
			in.log.Log(x)
		}
	}
}

// headerFilters run before the head is sent.
func (c *Chain) headerFilters(x *Exchange) {
	for i, in := range x.run.chosen {
		if in == nil || in.header == nil {
			continue
		}
		x.run.at = i
		if err := in.header.HeaderFilter(x); err != nil {
			x.Logger.Error("header filter failed", zap.String("plugin", in.Name), zap.Stringer("plugin_id", in.ID), zap.Error(err))
		}
	}
}

// Upstream are the changes that plugins made to what the service gets.
type Upstream struct {
	Method  string      // empty: the client's
	Host    string      // the header; empty: as route and service say
	Header  http.Header // nil: the client's, edited; the gateway adds its own to them
	edits   []Edit      // of the client's headers, while Header is nil
	path    *string
	query   *string
	body    []byte
	bodySet bool
}

// Changes answers what plugins changed about the request to the service.
func (x *Exchange) Changes() *Upstream { return &x.upstream }

// Path is the path that replaces the one by route and service.
func (u *Upstream) Path() (string, bool) { return deref(u.path) }

// Query is the query without "?" that replaces the client's.
func (u *Upstream) Query() (string, bool) { return deref(u.query) }

// Body is the body that replaces the client's, or the client's that a plugin has
// read.
func (u *Upstream) Body() ([]byte, bool) { return u.body, u.bodySet }

func deref(p *string) (string, bool) {
	if p == nil {
		return "", false
	}
	return *p, true
}

// SetMethod changes the method that the service gets.
func (x *Exchange) SetMethod(method string) { x.upstream.Method = method }

// SetHost changes the header Host that the service gets.
func (x *Exchange) SetHost(host string) { x.upstream.Host = host }

// SetPath replaces the path that the service gets, after route and service have
// had their say. It must be escaped and begin with a slash.
func (x *Exchange) SetPath(path string) { x.upstream.path = &path }

// SetQuery replaces the query; it has no "?".
func (x *Exchange) SetQuery(query string) { x.upstream.query = &query }

// SetBody replaces the body that the service gets.
func (x *Exchange) SetBody(b []byte) { x.upstream.body, x.upstream.bodySet = b, true }
