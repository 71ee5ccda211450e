package declarative

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// TestSync_anyAfterAny brings one document after the other into a store. With
// Prune, and with Replace, what was there before must not matter: the content is
// what it would be in an empty store, but for ids and times.
func TestSync_anyAfterAny(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t)
		for step := range rapid.IntRange(2, 4).Draw(rt, "documents") {
			doc, err := Parse([]byte(anyDocument(rt, fmt.Sprint(step))))
			if err != nil {
				rt.Fatal(err)
			}
			rows, errs := doc.Resolve(catalog, Options{Now: w.now})
			if errs != nil {
				continue // such as two of the same name
			}
			bring := func(tx *store.Tx) (Summary, error) { return Sync(tx, rows, SyncOptions{Prune: true}) }
			if rapid.Bool().Draw(rt, "replace") {
				bring = func(tx *store.Tx) (Summary, error) { return Replace(tx, rows, nil) }
			}
			tx := w.begin()
			if _, err := bring(tx); err != nil {
				rt.Fatal(err)
			}
			w.commit(tx)
			if got, want := content(w.image), contentOf(rt, rows); !slices.Equal(got, want) {
				rt.Fatalf("the content is\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			tx = w.begin()
			if sum, err := bring(tx); err != nil || len(tx.Changes()) > 0 {
				rt.Fatalf("the same again: %v, %v, %v", sum, err, tx.Changes())
			}
		}
	})
}

// anyDocument draws a document whose entities often have the same keys as those
// of another one.
func anyDocument(t *rapid.T, label string) string {
	var b strings.Builder
	b.WriteString("_format_version: '3.0'\n")
	maybe := func(what string) bool { return rapid.Bool().Draw(t, label+what) }
	pick := func(what string, from ...string) string { return rapid.SampledFrom(from).Draw(t, label+what) }
	id := func(what string) string {
		if rapid.IntRange(0, 2).Draw(t, label+what+"-id") > 0 {
			return ""
		}
		return ", id: 6d0f3c4e-2d6a-4f57-9e0a-1c2b3d4e5f6" + pick(what+"-digit", "0", "1", "2")
	}
	list := func(table string, most int, entity func(what string) string) {
		b.WriteString(table + ":\n")
		for i := range rapid.IntRange(0, most).Draw(t, label+table) {
			what := fmt.Sprint(table, i)
			b.WriteString("- {" + entity(what) + id(what) + "}\n")
		}
	}
	list("services", 3, func(what string) string {
		return "name: " + pick(what, "a", "b", "c") + ", host: " + pick(what+"-host", "x.com", "y.com")
	})
	list("routes", 3, func(what string) string {
		s := "paths: [/" + pick(what+"-path", "1", "2") + "]"
		if maybe(what + "-named") {
			s += ", name: " + pick(what, "r", "s", "t")
		}
		if maybe(what + "-has-service") {
			s += ", service: " + pick(what+"-service", "a", "b", "c")
		}
		return s
	})
	list("consumers", 3, func(what string) string {
		return "username: " + pick(what, "p", "q", "r") + ", custom_id: '" + pick(what+"-custom", "1", "2", "3") + "'"
	})
	list("plugins", 3, func(what string) string {
		s := "name: key-auth"
		if maybe(what + "-has-consumer") {
			s += ", consumer: " + pick(what+"-consumer", "p", "q", "r")
		}
		if maybe(what + "-has-service") {
			s += ", service: " + pick(what+"-service", "a", "b", "c")
		}
		if maybe(what + "-named") {
			s += ", instance_name: " + pick(what, "k", "l")
		}
		return s
	})
	return b.String()
}

// content lists the rows of an image, without ids and times: parents are called
// by their natural keys.
func content(im *store.Image) []string {
	var list []string
	for _, t := range catalog.Tables() {
		im.Ascend(t.Name, store.ID{}, func(r *store.Row) bool {
			o := im.Object(t.Name, r)
			for _, ref := range t.References() {
				if o[ref.Field] == nil {
					continue
				}
				var id store.ID
				_ = id.UnmarshalText([]byte(schema.KeyText(o[ref.Field])))
				parent, ok := im.Get(ref.Table, id)
				if !ok {
					o[ref.Field] = "missing"
					continue
				}
				o[ref.Field] = im.Object(ref.Table, parent)[catalog.Table(ref.Table).Key]
			}
			for _, field := range []string{"id", "created_at", "updated_at"} {
				o[field] = nil
			}
			list = append(list, t.Name+" "+string(t.Marshal(schema.Object(o))))
			return true
		})
	}
	slices.Sort(list)
	return list
}

func contentOf(t *rapid.T, rows []Row) []string {
	tx := store.Begin(store.NewImage(catalog), store.Options{})
	if _, err := Sync(tx, rows, SyncOptions{}); err != nil {
		t.Fatal(err)
	}
	return content(tx.Image())
}
