package snapshot_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// world is an image and its snapshot, edited together.
type world struct {
	t        *testing.T
	image    *store.Image
	snapshot *snapshot.Snapshot
	refused  []snapshot.Problem // by the last write
}

func newWorld(t *testing.T) *world {
	image := store.NewImage(catalog)
	pools := balancer.NewPools()
	t.Cleanup(pools.Close)
	return &world{t: t, image: image, snapshot: snapshot.New(image, pools)}
}

func (w *world) write(fn func(tx *store.Tx) error) {
	w.t.Helper()
	tx := store.Begin(w.image, store.Options{})
	if err := fn(tx); err != nil {
		w.t.Fatal(err)
	}
	w.image = tx.Image()
	w.snapshot, w.refused = w.snapshot.Apply(w.image, tx.Changes())
}

func (w *world) insert(table string, o schema.Object) (id string) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		got, err := tx.Insert(table, o)
		if err == nil {
			id = got["id"].(string)
		}
		return err
	})
	return id
}

func (w *world) update(table, id string, o schema.Object) {
	w.t.Helper()
	w.write(func(tx *store.Tx) error {
		_, err := tx.Update(table, store.Key{ID: uuid.MustParse(id)}, o)
		return err
	})
}

// service answers the service behind the route to everything.
func (w *world) service() *snapshot.Service {
	w.t.Helper()
	m, ok := w.snapshot.Match(request("/"))
	if !ok || m.Service == nil {
		w.t.Fatal("no service behind /")
	}
	return m.Service
}

func TestService_followsItsClientCertificate(t *testing.T) {
	w := newWorld(t)
	one, two := pair(t), pair(t)
	cert := w.insert("certificates", one)
	s := w.insert("services", schema.Object{"host": "a.internal", "protocol": "https", "client_certificate": schema.Object{"id": cert}})
	w.insert("routes", schema.Object{"paths": []any{"/"}, "service": schema.Object{"id": s}})
	before := w.service()
	if before.ClientCertificate == nil || before.Err != nil {
		t.Fatalf("client certificate is %v, error %v", before.ClientCertificate, before.Err)
	}

	w.update("certificates", cert, two)
	after := w.service()
	if after.TLSKey == before.TLSKey || after.ClientCertificate == before.ClientCertificate {
		t.Error("the service still shows the certificate that was replaced")
	}
}

func TestService_trustsTheAuthoritiesThatThereAre(t *testing.T) {
	w := newWorld(t)
	ca := uuid.NewString()
	s := w.insert("services", schema.Object{"host": "a.internal", "protocol": "https", "ca_certificates": []any{ca}})
	w.insert("routes", schema.Object{"paths": []any{"/"}, "service": schema.Object{"id": s}})

	// Kong does not look whether the authorities exist; such a service waits
	// for them and is not used meanwhile.
	if len(w.refused) > 0 {
		t.Errorf("the write was refused: %v", w.refused)
	}
	if w.service().Err == nil {
		t.Error("a service without its authority can be used")
	}
	if n := problems(w.snapshot); n != 1 {
		t.Errorf("%d problems, want 1", n)
	}

	w.insert("ca_certificates", schema.Object{"id": ca, "cert": authority(t)})
	if got := w.service(); got.Err != nil || got.RootCAs == nil {
		t.Errorf("after the authority came: error %v, authorities %v", got.Err, got.RootCAs)
	}
	if n := problems(w.snapshot); n != 0 {
		t.Errorf("%d problems, want none", n)
	}
}

func problems(s *snapshot.Snapshot) (n int) {
	for range s.Problems() {
		n++
	}
	return n
}

func TestSNIs_mayExchangeTheirNames(t *testing.T) {
	w := newWorld(t)
	var ids []string
	for _, name := range []string{"x.example", "y.example"} {
		cert := w.insert("certificates", pair(t))
		ids = append(ids, w.insert("snis", schema.Object{"name": name, "certificate": schema.Object{"id": cert}}))
	}
	digest := func(name string) [32]byte {
		p, ok := w.snapshot.Certificates().Lookup(name)
		if !ok {
			t.Fatalf("%s has no certificate", name)
		}
		return p.Digest()
	}
	x, y := digest("x.example"), digest("y.example")
	w.write(func(tx *store.Tx) error {
		for i, name := range []string{"aside.example", "x.example", "y.example"} {
			id := ids[[]int{0, 1, 0}[i]]
			if _, err := tx.Update("snis", store.Key{ID: uuid.MustParse(id)}, schema.Object{"name": name}); err != nil {
				return err
			}
		}
		return nil
	})
	if digest("x.example") != y || digest("y.example") != x {
		t.Error("the names did not exchange their certificates")
	}
}
