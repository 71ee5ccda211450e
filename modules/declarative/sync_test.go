package declarative

import (
	"regexp"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

const basic = `_format_version: "3.0"
services:
- name: a
  host: a.com
  routes:
  - {name: r1, paths: [/1]}
  - {name: r2, paths: [/2]}
- name: b
  host: b.com
`

func TestSync_writesWhatChanges(t *testing.T) {
	w := newWorld(t)
	expect(t, "first", w.sync(basic, SyncOptions{}), sum(counts{"services": 2, "routes": 2}))
	before := w.get("services", "name", "a")

	changed := strings.Replace(basic, "host: a.com", "host: other.com", 1)
	expect(t, "one changed", w.sync(changed, SyncOptions{}), sum(nil, counts{"services": 1}, nil, counts{"services": 1, "routes": 2}))
	after := w.get("services", "name", "a")
	expect(t, "host", after["host"], any("other.com"))
	expect(t, "id", after["id"], before["id"])
	expect(t, "created_at", after["created_at"], before["created_at"])
	expect(t, "updated_at", after["updated_at"], any(w.now.Unix()))

	tx := w.begin()
	if _, err := Sync(tx, resolve(t, changed, w.now), SyncOptions{Prune: true}); err != nil || len(tx.Changes()) != 0 {
		t.Errorf("%v; unchanged rows are changes: %v", err, tx.Changes())
	}
}

func TestSync_removesOnlyWithPrune(t *testing.T) {
	w := newWorld(t)
	w.sync(basic, SyncOptions{})
	w.insert("plugins", schema.Object{"name": "key-auth", "route": schema.Object{"id": w.get("routes", "name", "r2")["id"]}})
	const less = "_format_version: '3.0'\nservices:\n- {name: b, host: b.com}\n"
	expect(t, "without", w.sync(less, SyncOptions{}), sum(nil, nil, nil, counts{"services": 1}))
	expect(t, "with", w.sync(less, SyncOptions{Prune: true}),
		sum(nil, nil, counts{"services": 1, "routes": 2, "plugins": 1}, counts{"services": 1}))
	expect(t, "nothing", w.sync("_format_version: '3.0'", SyncOptions{Prune: true}), sum(nil, nil, counts{"services": 1}))
}

// TestSync_keepsIDs matches rows that were made by other means, and leads the
// references of the document to them.
func TestSync_keepsIDs(t *testing.T) {
	w := newWorld(t)
	service := w.insert("services", schema.Object{"name": "a", "host": "a.com", "created_at": 1234567})
	upstream := w.insert("upstreams", schema.Object{"name": "u"})
	target := w.insert("targets", schema.Object{"target": "a.com:80", "upstream": schema.Object{"id": upstream["id"]}})
	consumer := w.insert("consumers", schema.Object{"custom_id": "7"})
	plugin := w.insert("plugins", schema.Object{"name": "key-auth", "service": schema.Object{"id": service["id"]}})

	expect(t, "summary", w.sync(`_format_version: "3.0"
services:
- name: a
  host: a.com
  routes: [{name: r, paths: [/1]}]
  plugins:
  - name: key-auth
    config: {hide_credentials: true}
upstreams:
- name: u
  targets: [{target: "a.com:80", weight: 7}]
consumers:
- custom_id: "7"
  username: bob
`, SyncOptions{Prune: true}), sum(counts{"routes": 1}, counts{"targets": 1, "plugins": 1, "consumers": 1}, nil, counts{"services": 1, "upstreams": 1}))

	for table, o := range map[string]schema.Object{"services": service, "upstreams": upstream, "targets": target, "consumers": consumer, "plugins": plugin} {
		if _, ok := w.image.Get(table, idOf(t, o)); !ok {
			t.Errorf("%s: the row is not the same any more", table)
		}
	}
	expect(t, "created_at", w.get("services", "name", "a")["created_at"], any(int64(1234567)))
	expect(t, "reference", w.get("routes", "name", "r")["service"], any(schema.Object{"id": service["id"]}))
}

// TestSync_namedIDGivesWay: the row that a name has keeps its id, even if the
// document gives it another one.
func TestSync_namedIDGivesWay(t *testing.T) {
	w := newWorld(t)
	service := w.insert("services", schema.Object{"name": "a", "host": "a.com"})
	const text = `_format_version: "3.0"
services:
- {id: 0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1, name: a, host: b.com}
routes:
- {name: r, paths: [/1], service: 0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1}
`
	expect(t, "synced", w.sync(text, SyncOptions{}), sum(counts{"routes": 1}, counts{"services": 1}))
	expect(t, "id", w.get("services", "name", "a")["id"], service["id"])
	expect(t, "again", w.sync(text, SyncOptions{Prune: true}), sum(nil, nil, nil, counts{"services": 1, "routes": 1}))

	expect(t, "replaced", w.replace(text), sum(counts{"services": 1}, counts{"routes": 1}, counts{"services": 1}))
	expect(t, "id without a database", w.get("services", "name", "a")["id"], any("0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1"))
}

// TestSync_authorityGivesWay is the same for a certificate of an authority,
// which services list without a foreign key.
func TestSync_authorityGivesWay(t *testing.T) {
	blocks := regexp.MustCompile(`(?s)-----BEGIN.*?-----END [A-Z ]+-----`).FindAllString(readFile(t, "testdata/kong.yml"), -1)
	cert := blocks[len(blocks)-1]
	w := newWorld(t)
	ca := w.insert("ca_certificates", schema.Object{"cert": strings.ReplaceAll(cert, "\n    ", "\n")})
	w.sync("_format_version: '3.0'\nca_certificates:\n- id: 7c2e5d90-3a4b-4f6c-8d1e-0b9a8c7d6e5f\n  cert: |\n    "+cert+`
services:
- {name: a, url: "https://a.com", ca_certificates: [7c2e5d90-3a4b-4f6c-8d1e-0b9a8c7d6e5f, 0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1]}
`, SyncOptions{Prune: true})
	expect(t, "ca_certificates", w.get("services", "name", "a")["ca_certificates"], any([]any{ca["id"], "0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1"}))
}

// TestSync_exchange lets rows take over each other's names, in a circle and in
// a row, and those of rows that go.
func TestSync_exchange(t *testing.T) {
	const ids = "6d0f3c4e-2d6a-4f57-9e0a-1c2b3d4e5f6"
	w := newWorld(t)
	w.sync(`_format_version: "3.0"
consumers:
- {id: `+ids+`0, username: a, custom_id: x}
- {id: `+ids+`1, username: b, custom_id: y}
- {id: `+ids+`2, username: c, custom_id: z}
- {id: `+ids+`3, username: d}
plugins:
- {name: key-auth, consumer: a}
- {name: key-auth, consumer: b}
`, SyncOptions{})
	expect(t, "summary", w.sync(`_format_version: "3.0"
consumers:
- {id: `+ids+`0, username: b, custom_id: y}
- {id: `+ids+`1, username: a, custom_id: z}
- {id: `+ids+`3, username: c, custom_id: x}
plugins:
- {name: key-auth, consumer: b}
- {name: key-auth, consumer: a}
`, SyncOptions{Prune: true}), sum(nil, counts{"consumers": 3, "plugins": 2}, counts{"consumers": 1}))
	for name, id := range map[string]string{"b": ids + "0", "a": ids + "1", "c": ids + "3"} {
		expect(t, name, w.get("consumers", "username", name)["id"], any(id))
	}
	expect(t, "x", w.get("consumers", "custom_id", "x")["username"], any("c"))
}

func TestSync_movesChildrenToAnotherParent(t *testing.T) {
	w := newWorld(t)
	w.sync(basic, SyncOptions{})
	expect(t, "summary", w.sync(`_format_version: "3.0"
services:
- name: c
  host: c.com
  routes:
  - {name: r1, paths: [/1]}
  - {name: r2, paths: [/2]}
`, SyncOptions{Prune: true}), sum(counts{"services": 1}, counts{"routes": 2}, counts{"services": 2}))
	expect(t, "service", w.get("routes", "name", "r1")["service"], any(schema.Object{"id": w.get("services", "name", "c")["id"]}))
}

// TestSync_refusals are errors that only the store can see, and the lines to
// which they belong.
func TestSync_refusals(t *testing.T) {
	w := newWorld(t)
	w.insert("consumers", schema.Object{"username": "bob", "custom_id": "7"})
	w.insert("consumers", schema.Object{"username": "rob", "custom_id": "8"})
	rows := resolve(t, `_format_version: "3.0"
consumers:
- username: bob
  custom_id: "8"
- username: carol
`, start)
	_, err := Sync(w.begin(), rows, SyncOptions{})
	errs, ok := err.(*Errors)
	if !ok {
		t.Fatal(err)
	}
	expect(t, "errors", texts(errs), []string{`line 3: consumer "bob": UNIQUE violation detected on '{custom_id="8"}'`})
	expect(t, "fields", encode(t, errs.Body().Fields), `{"consumers":[{"@entity":["UNIQUE violation detected on '{custom_id=\"8\"}'"]}]}`)

	w = newWorld(t)
	w.sync(readFile(t, "testdata/kong.yml"), SyncOptions{})
	rows = resolve(t, `_format_version: "3.0"
services:
- name: payments
  url: https://payments:8443
  ca_certificates: [7c2e5d90-3a4b-4f6c-8d1e-0b9a8c7d6e5f]
`, start)
	_, err = Sync(w.begin(), rows, SyncOptions{Prune: true})
	if errs, ok = err.(*Errors); !ok {
		t.Fatal(err)
	}
	const want = "ca_certificate 7c2e5d90-3a4b-4f6c-8d1e-0b9a8c7d6e5f cannot be removed: ca certificate 7c2e5d90-3a4b-4f6c-8d1e-0b9a8c7d6e5f is still referenced by services (id = "
	if got := texts(errs); len(got) != 1 || !strings.HasPrefix(got[0], want) {
		t.Errorf("%q, want %q", got, want)
	}
	if body := encode(t, errs.Body().Fields); !strings.HasPrefix(body, `{"@entity":["ca_certificate 7c2e5d90`) {
		t.Error(body)
	}
}

// TestSync_certificatesByName: a certificate without an id is known by the
// names that it serves.
func TestSync_certificatesByName(t *testing.T) {
	blocks := regexp.MustCompile(`(?s)-----BEGIN.*?-----END [A-Z ]+-----`).FindAllString(readFile(t, "testdata/kong.yml"), 4)
	doc := func(pair []string, name string) string {
		return "_format_version: '3.0'\ncertificates:\n- cert: |\n    " + pair[0] + "\n  key: |\n    " + pair[1] + "\n  snis: [{name: " + name + "}]\n"
	}
	first, second := blocks[:2], blocks[2:]
	w := newWorld(t)
	w.sync(doc(first, "a.com"), SyncOptions{})
	expect(t, "renewed", w.sync(doc(second, "a.com"), SyncOptions{Prune: true}), sum(nil, counts{"certificates": 1}, nil, counts{"snis": 1}))
	expect(t, "another", w.sync(doc(first, "b.com"), SyncOptions{Prune: true}),
		sum(counts{"certificates": 1, "snis": 1}, nil, counts{"certificates": 1, "snis": 1}))
}

func TestReplace_isTheWholeContent(t *testing.T) {
	w := newWorld(t)
	expect(t, "first", w.replace(basic), sum(counts{"services": 2, "routes": 2}))
	created := w.get("routes", "name", "r1")["created_at"]
	expect(t, "again", w.replace(basic), sum(nil, nil, nil, counts{"services": 2, "routes": 2}))
	expect(t, "less", w.replace("_format_version: '3.0'\nroutes: [{name: r1, paths: [/other]}]"),
		sum(nil, counts{"routes": 1}, counts{"services": 2, "routes": 1}))
	expect(t, "created_at", w.get("routes", "name", "r1")["created_at"], created)
}

func TestSync_rowsCanBeUsedAgain(t *testing.T) {
	w := newWorld(t)
	w.insert("services", schema.Object{"name": "a", "host": "x.com"})
	rows := resolve(t, basic, start)
	before := (&Document{}).HashOf(rows)
	for range 2 { // such as a dry run and then the real one
		if got, err := Sync(w.begin(), rows, SyncOptions{}); err != nil || got.Updated["services"] != 1 || got.Created["routes"] != 2 {
			t.Fatal(got, err)
		}
	}
	expect(t, "rows", (&Document{}).HashOf(rows), before)
}

func TestSync_progressEndsWithAll(t *testing.T) {
	rows := resolve(t, string(manyRoutes(3000, JSON)), start)
	var last [2]int
	_, err := Sync(store.Begin(store.NewImage(catalog), store.Options{}), rows, SyncOptions{Progress: func(done, total int) { last = [2]int{done, total} }})
	if err != nil || last != [2]int{3300, 3300} {
		t.Error(err, last)
	}
}

func idOf(t *testing.T, o schema.Object) store.ID {
	t.Helper()
	var id store.ID
	if err := id.UnmarshalText([]byte(o["id"].(string))); err != nil {
		t.Fatal(err)
	}
	return id
}
