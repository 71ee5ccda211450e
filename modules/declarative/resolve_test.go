package declarative

import (
	"testing"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// TestResolve_idsAreKongs makes the ids anew from what the reference of the
// format says: version 5, in a namespace that is version 5 of the table's name.
func TestResolve_idsAreKongs(t *testing.T) {
	id := func(table, key string) uuid.UUID {
		root := uuid.MustParse("fd02801f-0957-4a15-a55a-c8d9606f30b5")
		return uuid.NewSHA1(uuid.NewSHA1(root, []byte(table)), []byte(key))
	}
	rows := resolve(t, `_format_version: "3.0"
services:
- name: svc
  host: a
  routes:
  - name: in
    paths: [/a]
    plugins:
    - name: key-auth
  plugins:
  - name: key-auth
- host: nameless
routes:
- name: out
  paths: [/b]
  service: svc
plugins:
- name: key-auth
- name: rate-limiting
  service: svc
  consumer: bob
- name: rate-limiting
  id: 6d0f3c4e-2d6a-4f57-9e0a-1c2b3d4e5f60
consumers:
- username: bob
- custom_id: "7"
upstreams:
- name: up
  targets: [{target: "b.com:1"}]
targets:
- {upstream: up, target: "a.com"}
`, start)
	svc, in := id("services", "svc"), id("routes", "in")
	up := id("upstreams", "up")
	want := map[uuid.UUID]string{
		svc:                    "services",
		in:                     "routes",
		id("routes", "out"):    "routes",
		id("consumers", "bob"): "consumers",
		up:                     "upstreams",
		id("targets", "targets:*:"+up.String()+":b.com:1"):     "targets",
		id("targets", "targets:*:up:a.com"):                    "targets",
		id("plugins", "plugins:*:key-auth:"+in.String()+"::"):  "plugins",
		id("plugins", "plugins:*:key-auth::"+svc.String()+":"): "plugins",
		id("plugins", "plugins:*:key-auth:::"):                 "plugins",
		id("plugins", "plugins:*:rate-limiting::svc:bob"):      "plugins",
		uuid.MustParse("6d0f3c4e-2d6a-4f57-9e0a-1c2b3d4e5f60"): "plugins",
	}
	random := 0
	for _, row := range rows {
		switch {
		case want[row.ID] == row.Table:
			delete(want, row.ID)
		case row.ID.Version() == 4:
			random++
		default:
			t.Errorf("%s %v has the id %s", row.Table, row.Object["name"], row.ID)
		}
		if row.Object["id"] != row.ID.String() {
			t.Errorf("the object of %s has the id %v", row.ID, row.Object["id"])
		}
	}
	if len(want) > 0 || random != 2 {
		t.Errorf("not made: %v; %d random ids, want 2", want, random)
	}
}

func TestResolve_rowsAreFlatAndInOrder(t *testing.T) {
	rows := resolve(t, `_format_version: "3.0"
plugins:
- name: key-auth
  route: b
services:
- name: s
  url: https://s.example.com/x
  tags: null
  routes:
  - name: a
    paths: [/a]
  - name: b
    paths: [/b]
    ws_id: 0dc6f45b-8f8d-40d2-a504-473544ee190b
    plugins:
    - name: rate-limiting
`, start)
	var got []string
	byName := map[string]schema.Object{}
	for _, row := range rows {
		name, _ := row.Object["name"].(string)
		got = append(got, row.Table+" "+name)
		byName[name] = row.Object
	}
	expect(t, "order", got, []string{"services s", "routes a", "routes b", "plugins key-auth", "plugins rate-limiting"})
	expect(t, "lines", []int{rows[0].Line, rows[1].Line, rows[2].Line, rows[3].Line, rows[4].Line}, []int{6, 10, 12, 3, 16})
	b := schema.Object{"id": byName["b"]["id"]}
	expect(t, "reference by name", byName["key-auth"]["route"], any(b))
	expect(t, "reference by nesting", byName["rate-limiting"]["route"], any(b))
	expect(t, "shorthand", []any{byName["s"]["protocol"], byName["s"]["port"], byName["s"]["path"]}, []any{"https", int64(443), "/x"})
	expect(t, "default", byName["s"]["retries"], any(int64(5)))
	expect(t, "stamp", byName["s"]["created_at"], any(start.Unix()))
}

// TestResolve_nameGoesBeforeID follows Kong, where a reference is a name
// first, whatever it looks like.
func TestResolve_nameGoesBeforeID(t *testing.T) {
	rows := resolve(t, `_format_version: "3.0"
services:
- {id: 0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1, name: a, host: a}
- {id: 6d0f3c4e-2d6a-4f57-9e0a-1c2b3d4e5f60, name: 0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1, host: b}
routes:
- {service: 0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1, paths: [/a]}
`, start)
	expect(t, "service", rows[2].Object["service"], any(schema.Object{"id": "6d0f3c4e-2d6a-4f57-9e0a-1c2b3d4e5f60"}))
}

func TestResolve_progressEndsWithAll(t *testing.T) {
	var last [2]int
	_, errs := parse(t, string(manyRoutes(3000, YAML))).Resolve(catalog, Options{Progress: func(done, total int) {
		if done < last[0] {
			t.Errorf("%d after %d", done, last[0])
		}
		last = [2]int{done, total}
	}})
	if errs != nil || last != [2]int{3300, 3300} {
		t.Error(errs, last)
	}
}

// TestMigratePath has the rules of Kong's step from 2.8 to 3.0.
func TestMigratePath(t *testing.T) {
	for path, want := range map[string]string{
		"/plain":           "/plain",
		"/a%20b":           "/a b",
		"/a%2fb":           "/a%2Fb",
		"/a//b/../c":       "/a/c",
		`/orders/\d+$`:     `~/orders/\d+$`,
		"/a(b|c)":          "~/a(b|c)",
		"/a b":             "~/a b",
		`/x%2e%20%7Cy+`:    `~/x\. \|y+`,
		`/x%2f%28\d`:       `~/x%2F%28\d`,
		`/(?<n>[%41-%5a])`: `~/(?<n>[A-Z])`,
	} {
		expect(t, path, migratePath(path), want)
	}
}

func TestResolve_migratesOldVersionsOnly(t *testing.T) {
	const text = `
services:
- name: s
  host: a
  routes:
  - name: nested
    paths: ['/a%20b', '/x\d']
routes:
- name: top
  paths: ['/y\d']
  service: s
`
	for _, version := range []string{"1.1", "2.1"} {
		rows := resolve(t, "_format_version: '"+version+"'"+text, start)
		expect(t, version+" nested", rows[1].Object["paths"], any([]any{"/a b", `~/x\d`}))
		expect(t, version+" at the top", rows[2].Object["paths"], any([]any{`~/y\d`}))
	}
	rows := resolve(t, "_format_version: '3.0'\nroutes: [{name: a, paths: ['/x(d']}]", start)
	expect(t, "3.0", rows[0].Object["paths"], any([]any{"/x(d"}))
}
