package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

type object = schema.Object

// catalog has the core entities, and plugins with the scopes that Kong's have.
func catalog() *entity.Catalog {
	config := &schema.Fields{List: []schema.Field{{Name: "minute", Kind: schema.Number}}}
	return entity.NewCatalog(map[string]entity.PluginKind{
		"basic-auth":    {Config: config, NoConsumer: true},
		"rate-limiting": {Config: config},
		"tcp-only":      {Config: config, Protocols: []string{"tcp", "tls"}},
	})
}

// now is the time of the transactions in these tests.
var now = time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC)

// num makes an identifier that is easy to read.
func num(n byte) uuid.UUID {
	return uuid.UUID{0: 0xaa, 6: 0x40, 8: 0x80, 15: n}
}

func str(n byte) string { return num(n).String() }

func ref(n byte) object { return object{"id": str(n)} }

// a script writes to a store step by step, and fails the test when a step that
// should work does not.
type script struct {
	t  *testing.T
	tx *store.Tx
}

func begin(t *testing.T, im *store.Image) *script {
	return &script{t, store.Begin(im, store.Options{Now: now})}
}

func empty() *store.Image { return store.NewImage(catalog()) }

func (s *script) insert(table string, in object) object {
	s.t.Helper()
	obj, err := s.tx.Insert(table, in)
	if err != nil {
		s.t.Fatalf("inserting %v into %s: %v", in, table, err)
	}
	return obj
}

func (s *script) update(table string, by store.Key, in object) object {
	s.t.Helper()
	obj, err := s.tx.Update(table, by, in)
	if err != nil {
		s.t.Fatalf("updating %s %v with %v: %v", table, by, in, err)
	}
	return obj
}

func (s *script) delete(table string, id uuid.UUID) {
	s.t.Helper()
	if found, err := s.tx.Delete(table, store.Key{ID: id}); err != nil || !found {
		s.t.Fatalf("deleting %s %s: found %v, %v", table, id, found, err)
	}
}

// refused checks that err is Kong's refusal with this code, message and
// fields.
func refused(t *testing.T, err error, code int, message string, fields object) {
	t.Helper()
	var refusal *schema.Error
	if !errors.As(err, &refusal) {
		t.Fatalf("got %v, want a refusal with code %d", err, code)
	}
	if refusal.Code != code || refusal.Message != message {
		t.Errorf("got %d %q\nwant %d %q", refusal.Code, refusal.Message, code, message)
	}
	if !cmp.Equal(fields, refusal.Fields) {
		t.Errorf("fields (-want +got):\n%s", cmp.Diff(fields, refusal.Fields))
	}
}

// names lists a field of all rows of a table, in the order of their ids.
func names(im *store.Image, table, field string) []any {
	var list []any
	im.Ascend(table, store.ID{}, func(r *store.Row) bool {
		list = append(list, im.Object(table, r)[field])
		return true
	})
	return list
}

// everything is the whole content of an image: objects by table and id.
func everything(im *store.Image) map[string]object {
	all := make(map[string]object)
	for _, t := range im.Catalog().Tables() {
		im.Ascend(t.Name, store.ID{}, func(r *store.Row) bool {
			all[t.Name+" "+r.ID.String()] = im.Object(t.Name, r)
			return true
		})
	}
	return all
}

// summary lists changes as "+services 1", "~routes 2", "-snis 3".
func summary(changes []store.Change) []string {
	var list []string
	for _, c := range changes {
		sign := "~"
		switch {
		case c.Before == nil:
			sign = "+"
		case c.After == nil:
			sign = "-"
		}
		id := c.ID()
		list = append(list, sign+c.Table+" "+string('0'+id[15]))
	}
	return list
}
