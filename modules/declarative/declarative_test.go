package declarative

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// catalog has the core tables and two plugins.
var catalog = entity.NewCatalog(map[string]entity.PluginKind{
	"key-auth": {Config: &schema.Fields{List: []schema.Field{
		{Name: "key_names", Kind: schema.Array, Required: true, Elem: &schema.Field{Kind: schema.String}, Default: []any{"apikey"}},
		{Name: "hide_credentials", Kind: schema.Boolean, Required: true, Default: false},
	}}},
	"rate-limiting": {Config: &schema.Fields{List: []schema.Field{
		{Name: "minute", Kind: schema.Number},
		{Name: "hour", Kind: schema.Number},
		{Name: "redis", Kind: schema.Record, Required: true, Fields: &schema.Fields{List: []schema.Field{
			{Name: "host", Kind: schema.String},
			{Name: "port", Kind: schema.Integer, Default: int64(6379), Between: []float64{0, 65535}},
		}}},
	}}},
})

// start is the time at which all tests write first.
var start = time.Unix(1_700_000_000, 0)

func parse(t testing.TB, text string) *Document {
	t.Helper()
	doc, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("parsing: %v\n%s", err, text)
	}
	return doc
}

func resolve(t testing.TB, text string, now time.Time) []Row {
	t.Helper()
	rows, errs := parse(t, text).Resolve(catalog, Options{Now: now})
	if errs != nil {
		t.Fatalf("resolving: %v\n%s", errs, text)
	}
	return rows
}

// world is a store's content that documents are brought into.
type world struct {
	testing.TB
	image *store.Image
	now   time.Time
}

func newWorld(t testing.TB) *world {
	return &world{t, store.NewImage(catalog), start}
}

// begin opens a transaction an hour later than the last one.
func (w *world) begin() *store.Tx {
	w.now = w.now.Add(time.Hour)
	return store.Begin(w.image, store.Options{Now: w.now})
}

// sync brings a document in, and makes sure that the changes are such as a
// driver can apply one by one.
func (w *world) sync(text string, opt SyncOptions) Summary {
	w.Helper()
	tx := w.begin()
	sum, err := Sync(tx, resolve(w, text, w.now), opt)
	if err != nil {
		w.Fatalf("syncing: %v\n%s", err, text)
	}
	w.commit(tx)
	return sum
}

func (w *world) replace(text string) Summary {
	w.Helper()
	tx := w.begin()
	sum, err := Replace(tx, resolve(w, text, w.now), nil)
	if err != nil {
		w.Fatalf("replacing: %v\n%s", err, text)
	}
	w.commit(tx)
	return sum
}

func (w *world) commit(tx *store.Tx) {
	w.Helper()
	rows := map[string]map[store.ID][]byte{}
	set := func(table string, r *store.Row) {
		if rows[table] == nil {
			rows[table] = map[store.ID][]byte{}
		}
		rows[table][r.ID] = r.Data
	}
	all := func(im *store.Image, yield func(table string, r *store.Row)) {
		for _, t := range catalog.Tables() {
			im.Ascend(t.Name, store.ID{}, func(r *store.Row) bool { yield(t.Name, r); return true })
		}
	}
	all(w.image, set)
	for _, c := range tx.Changes() {
		if c.After == nil {
			delete(rows[c.Table], c.Before.ID)
		} else {
			set(c.Table, c.After)
		}
	}
	w.image = tx.Image()
	all(w.image, func(table string, r *store.Row) {
		if !bytes.Equal(rows[table][r.ID], r.Data) {
			w.Errorf("%s %s: the changes make it %s, the image has %s", table, r.ID, rows[table][r.ID], r.Data)
		}
		delete(rows[table], r.ID)
	})
	for table, left := range rows {
		for id := range left {
			w.Errorf("%s %s is not in the image, but no change removes it", table, id)
		}
	}
}

// get answers the entity with a natural key.
func (w *world) get(table, field, value string) schema.Object {
	w.Helper()
	r, ok := w.image.ByKey(table, field, value)
	if !ok {
		w.Fatalf("no %s with %s %q", table, field, value)
	}
	return w.image.Object(table, r)
}

func (w *world) insert(table string, o schema.Object) schema.Object {
	w.Helper()
	tx := w.begin()
	o, err := tx.Insert(table, o)
	if err != nil {
		w.Fatal(err)
	}
	w.commit(tx)
	return o
}

func (w *world) export(format Format) string {
	w.Helper()
	var b bytes.Buffer
	if err := Export(&b, w.image, format); err != nil {
		w.Fatal(err)
	}
	return b.String()
}

func sum(of ...map[string]int) Summary {
	for len(of) < 4 {
		of = append(of, nil)
	}
	for i := range of {
		if of[i] == nil {
			of[i] = map[string]int{}
		}
	}
	return Summary{of[0], of[1], of[2], of[3]}
}

type counts = map[string]int

func expect[T any](t testing.TB, what string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: (-want +got)\n%s", what, diff)
	}
}

func texts(errs *Errors) []string {
	if errs == nil {
		return nil
	}
	list := make([]string, len(errs.Problems))
	for i, p := range errs.Problems {
		list[i] = p.String()
	}
	slices.Sort(list)
	return list
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestBigFile takes a file with everything there is all the way through.
func TestBigFile(t *testing.T) {
	text := readFile(t, "testdata/kong.yml")
	w := newWorld(t)
	created := counts{
		"services": 3, "routes": 7, "consumers": 3, "plugins": 6, "upstreams": 2, "targets": 4, "certificates": 2,
		"snis": 3, "ca_certificates": 1, "vaults": 1, "key_sets": 1, "keys": 1,
	}
	expect(t, "first", w.sync(text, SyncOptions{Prune: true}), sum(created))
	expect(t, "again", w.sync(text, SyncOptions{Prune: true}), sum(nil, nil, nil, created))

	for _, format := range []Format{YAML, JSON} {
		exported := w.export(format)
		expect(t, string(format)+" of the same node", w.sync(exported, SyncOptions{Prune: true}), sum(nil, nil, nil, created))
		other := newWorld(t)
		expect(t, string(format)+" elsewhere", other.sync(exported, SyncOptions{}), sum(created))
		expect(t, string(format)+" loaded", newWorld(t).replace(exported), sum(created))
		expect(t, string(format)+" written again", other.export(format), exported)
	}

	route := w.get("routes", "name", "orders-list")
	expect(t, "paths", route["paths"], any([]any{"/orders", `~/orders/\d+$`}))
	expect(t, "strip_path", route["strip_path"], any(false))
	service := w.get("services", "name", "orders")
	expect(t, "merged field", service["connect_timeout"], any(int64(2000)))
	expect(t, "reference by nesting", route["service"], any(schema.Object{"id": service["id"]}))
}
