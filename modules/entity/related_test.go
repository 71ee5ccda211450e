package entity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// rows is the least that can stand for a transaction: objects by table and id.
type rows struct {
	catalog *Catalog
	tables  map[string]map[uuid.UUID]schema.Object
}

func newRows() *rows {
	return &rows{NewCatalog(testPlugins), map[string]map[uuid.UUID]schema.Object{}}
}

func (r *rows) Get(table string, id uuid.UUID) schema.Object { return r.tables[table][id] }

func (r *rows) ByKey(table, field, value string) (found schema.Object) {
	r.All(table, func(o schema.Object) bool {
		if o[field] == value {
			found = o
		}
		return found == nil
	})
	return found
}

func (r *rows) Children(table, field string, parent uuid.UUID, yield func(schema.Object) bool) {
	r.All(table, func(o schema.Object) bool {
		if id, ok := reference(o, field); ok && id == parent {
			return yield(o)
		}
		return true
	})
}

func (r *rows) All(table string, yield func(schema.Object) bool) {
	ids := slices.SortedFunc(maps.Keys(r.tables[table]), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	for _, id := range ids {
		if o := r.tables[table][id]; o != nil && !yield(o) {
			return
		}
	}
}

func (r *rows) Insert(table string, input schema.Object) error {
	o, err := r.write(table, schema.Insert, input, nil)
	if err != nil {
		return err
	}
	if o == nil {
		return errors.New("nothing was written")
	}
	return nil
}

func (r *rows) Delete(table string, id uuid.UUID) error {
	if r.tables[table][id] == nil {
		return fmt.Errorf("%s: no row %v", table, id)
	}
	delete(r.tables[table], id)
	return nil
}

// write does what a store does with the hooks, and answers what a client sees.
func (r *rows) write(table string, op schema.Op, input, current schema.Object) (schema.Object, *schema.Error) {
	t := r.catalog.Table(table)
	o, err := t.Process(op, input, current, nil)
	if err != nil {
		return nil, err
	}
	if t.Related.Check != nil {
		if err := t.Related.Check(r, op, o, current); err != nil {
			return nil, err
		}
	}
	id := uuid.MustParse(o["id"].(string))
	if r.tables[table] == nil {
		r.tables[table] = map[uuid.UUID]schema.Object{}
	}
	stored, bad := t.Unpack(t.Pack(o))
	if bad != nil {
		panic(bad)
	}
	r.tables[table][id] = stored
	if t.Related.Written != nil {
		if err := t.Related.Written(r, op, o); err != nil {
			panic(err)
		}
	}
	seen := maps.Clone(stored)
	if t.Related.Fill != nil {
		t.Related.Fill(r, seen)
	}
	return seen, nil
}

func (r *rows) mustWrite(t *testing.T, table string, op schema.Op, input, current schema.Object) schema.Object {
	t.Helper()
	o, err := r.write(table, op, input, current)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestCertificates_namesAreSNIs(t *testing.T) {
	p := pairs()["ec"]
	r := newRows()
	base := schema.Object{"cert": p.cert, "key": p.key}
	with := func(names ...any) schema.Object {
		o := maps.Clone(base)
		o["snis"] = names
		return o
	}
	names := func() (all []any) {
		r.All("snis", func(o schema.Object) bool { all = append(all, o["name"]); return true })
		slices.SortFunc(all, func(a, b any) int {
			if a.(string) < b.(string) {
				return -1
			}
			return 1
		})
		return all
	}
	check := func(what string, got schema.Object, want ...any) {
		t.Helper()
		if diff := cmp.Diff(append([]any{}, want...), got["snis"]); diff != "" {
			t.Errorf("%s: the certificate shows (-want +got):\n%s", what, diff)
		}
		if diff := cmp.Diff(append([]any{}, want...), append([]any{}, names()...)); diff != "" {
			t.Errorf("%s: there are the SNIs (-want +got):\n%s", what, diff)
		}
	}
	none := r.mustWrite(t, "certificates", schema.Insert, base, nil)
	check("none", none)
	a := r.mustWrite(t, "certificates", schema.Upsert, with("b.com", "a.com"), none)
	check("put", a, "a.com", "b.com")
	kept := r.ByKey("snis", "name", "a.com")["id"]
	a = r.mustWrite(t, "certificates", schema.Update, schema.Object{"tags": []any{"x"}}, a)
	check("patch without names", a, "a.com", "b.com")
	a = r.mustWrite(t, "certificates", schema.Update, with("c.com", "a.com"), a)
	check("patch with names", a, "a.com", "c.com")
	if r.ByKey("snis", "name", "a.com")["id"] != kept {
		t.Error("a name that stays lost its SNI")
	}
	if _, err := r.write("certificates", schema.Insert, with("x.com", "x.com"), nil); err == nil || err.Message != one("snis: x.com is duplicated") {
		t.Errorf("got %v", err)
	}
	want := one(fmt.Sprintf("snis: c.com already associated with existing certificate '%v'", a["id"]))
	if _, err := r.write("certificates", schema.Insert, with("c.com"), nil); err == nil || err.Message != want {
		t.Errorf("got %v, want %s", err, want)
	}
	a = r.mustWrite(t, "certificates", schema.Update, schema.Object{"snis": nil}, a)
	check("patch with null", a)
	a = r.mustWrite(t, "certificates", schema.Update, with("d.com"), a)
	a = r.mustWrite(t, "certificates", schema.Upsert, base, a)
	check("put without names", a)
}

func TestPlugins_shareAProtocolWithTheirRoute(t *testing.T) {
	r := newRows()
	ref := func(o schema.Object) schema.Object { return schema.Object{"id": o["id"]} }
	service := r.mustWrite(t, "services", schema.Insert, schema.Object{"host": "h"}, nil)
	lonely := r.mustWrite(t, "services", schema.Insert, schema.Object{"host": "h"}, nil)
	route := r.mustWrite(t, "routes", schema.Insert, schema.Object{
		"protocols": []any{"tcp"}, "sources": []any{schema.Object{"port": 1.0}}, "service": ref(service)}, nil)

	const (
		wrongRoute   = "schema violation (protocols: must match the associated route's protocols)"
		wrongService = "schema violation (protocols: must match the protocols of at least one route pointing to this Plugin's service)"
	)
	for _, tt := range []struct {
		name    string
		in      schema.Object
		message string
	}{
		{"the route speaks another", schema.Object{"name": "echo", "route": ref(route)}, wrongRoute},
		{"the route speaks one of them", schema.Object{"name": "echo", "route": ref(route), "protocols": []any{"http", "tcp"}}, ""},
		{"the service's routes speak another", schema.Object{"name": "echo", "service": ref(service)}, wrongService},
		{"one of the service's routes speaks it", schema.Object{"name": "echo", "service": ref(service), "protocols": []any{"tcp"}}, ""},
		{"a service without routes", schema.Object{"name": "echo", "service": ref(lonely)}, ""},
		{"a global plugin", schema.Object{"name": "echo"}, ""},
		{"a route that is not there is for others to refuse", schema.Object{"name": "echo", "route": schema.Object{"id": someID}}, ""},
	} {
		_, err := r.write("plugins", schema.Insert, tt.in, nil)
		got := ""
		if err != nil {
			got = err.Message
		}
		if got != tt.message {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.message)
		}
	}
	plugin := r.mustWrite(t, "plugins", schema.Insert, schema.Object{"name": "echo", "route": ref(route), "protocols": []any{"tcp"}}, nil)
	if _, err := r.write("plugins", schema.Update, schema.Object{"protocols": []any{"http"}}, plugin); err == nil || err.Message != wrongRoute {
		t.Errorf("got %v", err)
	}
	r.mustWrite(t, "routes", schema.Update, schema.Object{"protocols": []any{"udp"}}, route)
	if _, err := r.write("plugins", schema.Update, schema.Object{"enabled": false}, plugin); err != nil {
		t.Errorf("an update of something else was refused: %v", err)
	}
}

func TestCACertificates_areKeptWhileTheyAreUsed(t *testing.T) {
	r := newRows()
	ca := r.mustWrite(t, "ca_certificates", schema.Insert, schema.Object{"cert": pairs()["ca"].cert}, nil)
	deleting := r.catalog.Table("ca_certificates").Related.Deleting
	if err := deleting(r, ca); err != nil {
		t.Errorf("nobody uses it: %v", err)
	}
	service := r.mustWrite(t, "services", schema.Insert, schema.Object{"host": "h", "protocol": "https", "ca_certificates": []any{ca["id"]}}, nil)
	want := fmt.Sprintf("ca certificate %v is still referenced by services (id = %v)", ca["id"], service["id"])
	if err := deleting(r, ca); err == nil || err.Code != schema.CodeReferencedByOthers || err.Message != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Interface guards
var _ schema.Rows = (*rows)(nil)
