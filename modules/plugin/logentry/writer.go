package logentry

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// A writer writes an entry member by member: there is one for each request, and
// reflection would take most of the time.
type writer struct {
	b     []byte
	first bool // the next member is the first of its object
}

func begin() *writer { return &writer{b: append(make([]byte, 0, 2048), '{'), first: true} }

// end tells of the one workspace that there is.
func (w *writer) end() []byte {
	w.text("workspace", workspace)
	w.text("workspace_name", "default")
	return append(w.b, '}')
}

var workspace = entity.DefaultWorkspace.String()

// comma comes before each member and element.
func (w *writer) comma() {
	if !w.first {
		w.b = append(w.b, ',')
	}
	w.first = false
}

func (w *writer) key(name string) {
	w.comma()
	w.b = append(schema.AppendString(w.b, name), ':')
}

func (w *writer) text(name, value string) {
	w.key(name)
	w.b = schema.AppendString(w.b, value)
}

func (w *writer) number(name string, n int64) {
	w.key(name)
	w.b = strconv.AppendInt(w.b, n, 10)
}

// id writes an identifier, if it is one.
func (w *writer) id(name string, id uuid.UUID) {
	if id != uuid.Nil {
		w.text(name, id.String())
	}
}

func (w *writer) object(name string, members func()) {
	w.key(name)
	w.within('{', members, '}')
}

func (w *writer) within(open byte, members func(), shut byte) {
	w.b, w.first = append(w.b, open), true
	members()
	w.b, w.first = append(w.b, shut), false
}

// strs writes values by name: one is text, several are a list, and none is
// true, as nginx's Lua has it.
func (w *writer) strs(name string, values strs) {
	w.object(name, func() {
		for _, name := range slices.Sorted(maps.Keys(values)) {
			w.key(name)
			switch list := values[name]; len(list) {
			case 0:
				w.b = append(w.b, "true"...)
			case 1:
				w.b = schema.AppendString(w.b, list[0])
			default:
				w.within('[', func() {
					for _, v := range list {
						w.comma()
						w.b = schema.AppendString(w.b, v)
					}
				}, ']')
			}
		}
	})
}

// any writes whatever JSON can tell.
func (w *writer) any(name string, v any) {
	w.key(name)
	text, err := json.Marshal(v)
	if err != nil {
		text = []byte("null")
	}
	w.b = append(w.b, text...)
}

// tls tells what was agreed on with the client, if it speaks TLS.
func (w *writer) tls(s *tls.ConnectionState) {
	t := secureOf(s)
	if t == nil {
		return
	}
	w.object("tls", func() {
		w.text("version", t.version)
		w.text("cipher", t.cipher)
		w.text("client_verify", t.clientVerify)
	})
}

func (w *writer) tries(list []plugin.Try) {
	w.key("tries")
	w.within('[', func() {
		for i := range list {
			w.comma()
			w.within('{', func() { w.try(&list[i]) }, '}')
		}
	}, ']')
}

func (w *writer) try(t *plugin.Try) {
	a, _ := netip.ParseAddrPort(t.Address)
	w.text("ip", ip(a.Addr()))
	w.number("port", int64(a.Port()))
	w.number("balancer_start", t.Start.UnixMilli())
	w.number("balancer_start_ns", t.Start.UnixNano())
	w.number("balancer_latency", milli(t.Duration))
	w.number("balancer_latency_ns", int64(t.Duration))
	if t.State != "" {
		w.text("state", t.State)
		w.number("code", int64(t.Code))
	}
}

// place tells of the route and the service.
func (w *writer) place(d plugin.Directory, r *entity.Route, s *entity.Service) {
	if r != nil {
		w.row(d, "route", "routes", r.ID)
	}
	if s != nil {
		w.row(d, "service", "services", s.ID)
	}
}

// row writes a row as it is stored, which is Kong's form of it without what is
// unset, and with the workspace that it is in.
func (w *writer) row(d plugin.Directory, name, table string, id uuid.UUID) {
	r, ok := d.Get(table, id)
	if !ok || len(r.Data) < 2 {
		w.object(name, func() { w.id("id", id) })
		return
	}
	w.key(name)
	w.b = append(w.b, r.Data[:len(r.Data)-1]...)
	w.text("ws_id", workspace)
	w.b = append(w.b, '}')
}
