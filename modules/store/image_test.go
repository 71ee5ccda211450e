package store_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

func TestAscend_goesOnBehindARow(t *testing.T) {
	s := begin(t, empty())
	s.insert("upstreams", object{"id": str(9), "name": "pool"})
	for _, n := range []byte{5, 3, 1, 4, 2} {
		s.insert("targets", object{"id": str(n), "upstream": ref(9), "target": fmt.Sprintf("10.0.0.%d:80", n), "tags": []any{"odd", "n" + fmt.Sprint(n%2)}})
	}
	im := s.tx.Image()
	for name, ascend := range map[string]func(after store.ID, yield func(*store.Row) bool){
		"all": func(after store.ID, yield func(*store.Row) bool) { im.Ascend("targets", after, yield) },
		"children": func(after store.ID, yield func(*store.Row) bool) {
			im.AscendChildren("targets", "upstream", num(9), after, yield)
		},
		"tag": func(after store.ID, yield func(*store.Row) bool) { im.AscendTag("targets", "odd", after, yield) },
	} {
		for _, tt := range []struct {
			after store.ID
			max   int
			want  string
		}{
			{store.ID{}, 9, "12345"}, {store.ID{}, 2, "12"}, {num(2), 2, "34"}, {num(4), 9, "5"}, {num(5), 9, ""},
			{uuid.Max, 9, ""}, {num(0), 1, "1"},
		} {
			got := ""
			ascend(tt.after, func(r *store.Row) bool {
				got += string('0' + r.ID[15])
				return len(got) < tt.max
			})
			if got != tt.want {
				t.Errorf("%s behind %s, at most %d: %q, want %q", name, tt.after, tt.max, got, tt.want)
			}
		}
	}
	got := ""
	im.AscendTag("targets", "n1", store.ID{}, func(r *store.Row) bool { got += string('0' + r.ID[15]); return true })
	if got != "135" {
		t.Errorf("tagged n1: %q, want %q", got, "135")
	}
}

func TestImage_answersNothingForWhatItDoesNotKnow(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "name": "a", "host": "a", "tags": []any{"x"}})
	im := s.tx.Image()
	count := 0
	yield := func(*store.Row) bool { count++; return true }
	im.Ascend("no_such", store.ID{}, yield)
	im.AscendChildren("no_such", "service", num(1), store.ID{}, yield)
	im.AscendChildren("services", "no_such", num(1), store.ID{}, yield)
	im.AscendChildren("services", "tags", num(1), store.ID{}, yield)
	im.AscendTag("no_such", "x", store.ID{}, yield)
	im.AscendTag("services", "", store.ID{}, yield)
	if count > 0 || im.Len("no_such") != 0 {
		t.Errorf("found %d rows", count)
	}
	for _, by := range [][3]string{{"no_such", "name", "a"}, {"services", "host", "a"}, {"services", "id", str(1)}, {"services", "name", ""}} {
		if r, ok := im.ByKey(by[0], by[1], by[2]); ok {
			t.Errorf("ByKey%q found %s", by, r.Data)
		}
	}
	if _, ok := im.Get("no_such", num(1)); ok {
		t.Error("found a row in a table that does not exist")
	}
}

func TestByCacheKey(t *testing.T) {
	s := begin(t, empty())
	s.insert("routes", object{"id": str(1), "paths": []any{"/"}})
	for n, in := range []object{{}, {"route": ref(1)}} {
		in["id"], in["name"] = str(byte(n+2)), "rate-limiting"
		s.insert("plugins", in)
	}
	im := s.tx.Image()
	for _, tt := range []struct {
		table string
		by    object
		want  byte
	}{
		{"plugins", object{"name": "rate-limiting", "route": nil, "service": nil, "consumer": nil}, 2},
		{"plugins", object{"name": "rate-limiting"}, 2},
		{"plugins", object{"name": "rate-limiting", "route": ref(1)}, 3},
		{"plugins", object{"name": "rate-limiting", "service": ref(1)}, 0},
		{"plugins", object{"name": "basic-auth"}, 0},
		{"routes", object{"id": str(1)}, 0},
		{"no_such", object{}, 0},
	} {
		r, ok := im.ByCacheKey(tt.table, tt.by)
		if ok != (tt.want != 0) || ok && r.ID != num(tt.want) {
			t.Errorf("%s %v: found %v, want %d", tt.table, tt.by, r, tt.want)
		}
	}
}

func TestTags(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "host": "a", "tags": []any{"b", "a", "b"}})
	s.insert("services", object{"id": str(2), "host": "a", "tags": []any{"a", "ü \"q\" \\"}})
	s.insert("consumers", object{"id": str(3), "username": "c", "tags": []any{"a"}})
	im := s.tx.Image()
	list := func(after store.Tagging, max int) []store.Tagging {
		var got []store.Tagging
		im.Tags(after, func(t store.Tagging) bool {
			got = append(got, t)
			return len(got) < max
		})
		return got
	}
	want := []store.Tagging{
		{Table: "services", Tag: "a", ID: num(1)}, {Table: "services", Tag: "a", ID: num(2)}, {Table: "services", Tag: "b", ID: num(1)},
		{Table: "services", Tag: `ü "q" \`, ID: num(2)}, {Table: "consumers", Tag: "a", ID: num(3)},
	}
	if got := list(store.Tagging{}, 99); !cmp.Equal(want, got) {
		t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
	}
	for i, after := range want {
		if got := list(after, 99); !slices.Equal(want[i+1:], got) {
			t.Errorf("behind %v: %v, want %v", after, got, want[i+1:])
		}
	}
	gone := store.Tagging{Table: "services", Tag: "a", ID: store.ID{0: 0xaa, 6: 0x40, 8: 0x80, 14: 1}}
	if got := list(gone, 99); !slices.Equal(want[2:], got) {
		t.Errorf("behind one that is gone: %v", got)
	}
	if got := list(store.Tagging{}, 2); len(got) != 2 {
		t.Errorf("went on after it was told to stop: %v", got)
	}
}

// TestImage_neverChanges writes to many transactions at once while others read
// the image that all of them began with.
func TestImage_neverChanges(t *testing.T) {
	s := begin(t, empty())
	for n := range byte(50) {
		s.insert("services", object{"id": str(n), "name": fmt.Sprint("s", n), "host": "a", "tags": []any{"t"}})
		s.insert("routes", object{"id": str(n), "name": fmt.Sprint("r", n), "paths": []any{"/"}, "service": ref(n)})
	}
	base := s.tx.Image()
	want := everything(base)

	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for n := range byte(50) {
				tx := store.Begin(base, store.Options{})
				if _, err := tx.Delete("routes", store.Key{ID: num(n)}); err != nil {
					t.Error(err)
				}
				if _, err := tx.Update("services", store.Key{ID: num(n)}, object{"name": fmt.Sprint("new", i), "tags": []any{"u"}}); err != nil {
					t.Error(err)
				}
				if _, err := tx.Insert("services", object{"name": fmt.Sprint("s", n), "host": "b"}); err != nil {
					t.Error(err)
				}
				if got := tx.Image().Len("routes"); got != 49 {
					t.Errorf("the transaction has %d routes, want 49", got)
				}
			}
		})
		group.Go(func() {
			for n := range byte(50) {
				r, ok := base.ByKey("services", "name", fmt.Sprint("s", n))
				if !ok || r.ID != num(n) {
					t.Errorf("service s%d is not found by its name", n)
				}
				children := 0
				base.AscendChildren("routes", "service", num(n), store.ID{}, func(*store.Row) bool { children++; return true })
				if children != 1 {
					t.Errorf("service s%d has %d routes, want 1", n, children)
				}
			}
		})
	}
	group.Wait()
	if got := everything(base); !cmp.Equal(want, got) {
		t.Errorf("the image changed (-before +after):\n%s", cmp.Diff(want, got))
	}
}

func TestTxImage_isNotChangedByLaterWrites(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "name": "a", "host": "a"})
	first := s.tx.Image()
	want := everything(first)
	s.update("services", store.Key{ID: num(1)}, object{"name": "b"})
	s.insert("services", object{"id": str(2), "name": "a", "host": "a"})
	if got := everything(first); !cmp.Equal(want, got) {
		t.Errorf("(-before +after):\n%s", cmp.Diff(want, got))
	}
	if n := s.tx.Image().Len("services"); n != 2 {
		t.Errorf("the transaction has %d services, want 2", n)
	}
}

// TestIndexes compares every index with a walk over all rows, after writes
// that rapid makes up, some of which are refused.
func TestIndexes(t *testing.T) {
	c := catalog()
	rapid.Check(t, func(t *rapid.T) {
		tx := store.Begin(store.NewImage(c), store.Options{})
		id := rapid.Custom(func(t *rapid.T) byte { return rapid.ByteRange(0, 7).Draw(t, "id") })
		name := rapid.SampledFrom([]any{nil, "a", "b", "c", "é"})
		tags := rapid.Custom(func(t *rapid.T) any {
			list := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"x", "y", "z z", `"`}), 0, 3, rapid.ID).Draw(t, "tags")
			out := []any{}
			for _, tag := range list {
				out = append(out, tag)
			}
			return out
		})
		in := func(table string) object {
			o := object{"tags": tags.Draw(t, "tags")}
			switch table {
			case "services":
				o["name"], o["host"] = name.Draw(t, "name"), "h"
			case "routes":
				o["name"], o["paths"] = name.Draw(t, "name"), []any{"/"}
				if rapid.Bool().Draw(t, "with service") {
					o["service"] = ref(id.Draw(t, "service"))
				}
			case "plugins":
				o["name"] = rapid.SampledFrom([]any{"rate-limiting", "basic-auth"}).Draw(t, "plugin")
				if rapid.Bool().Draw(t, "with service") {
					o["service"] = ref(id.Draw(t, "service"))
				}
				if rapid.Bool().Draw(t, "with route") {
					o["route"] = ref(id.Draw(t, "route"))
				}
			}
			return o
		}
		table := rapid.SampledFrom([]string{"services", "routes", "plugins"})
		by := func() store.Key { return store.Key{ID: num(id.Draw(t, "id"))} }
		t.Repeat(map[string]func(*rapid.T){
			"insert": func(t *rapid.T) {
				table := table.Draw(t, "table")
				o := in(table)
				o["id"] = str(id.Draw(t, "id"))
				tx.Insert(table, o)
			},
			"upsert": func(t *rapid.T) {
				table := table.Draw(t, "table")
				tx.Upsert(table, by(), in(table))
			},
			"update": func(t *rapid.T) {
				table := table.Draw(t, "table")
				tx.Update(table, by(), in(table))
			},
			"delete": func(t *rapid.T) { tx.Delete(table.Draw(t, "table"), by()) },
			"":       func(t *rapid.T) { compareIndexes(t, tx.Image()) },
		})
		loaded, problems, err := store.Load(context.Background(), c, list(tx.Changes()))
		if err != nil || len(problems) > 0 {
			t.Fatal(err, problems)
		}
		if a, b := everything(tx.Image()), everything(loaded); !cmp.Equal(a, b) {
			t.Fatalf("the changes give another image (-written +loaded):\n%s", cmp.Diff(a, b))
		}
	})
}

func compareIndexes(t *rapid.T, im *store.Image) {
	type place struct{ table, field, value string }
	children, tagged := make(map[place][]store.ID), make(map[place][]store.ID)
	unique := make(map[place]store.ID)
	for _, table := range im.Catalog().Tables() {
		count := 0
		im.Ascend(table.Name, store.ID{}, func(r *store.Row) bool {
			count++
			o := im.Object(table.Name, r)
			if got, ok := im.Get(table.Name, r.ID); !ok || got != r {
				t.Fatalf("%s %s is not found by its id", table.Name, r.ID)
			}
			for _, field := range table.Uniques() {
				if v, ok := o[field].(string); ok {
					p := place{table.Name, field, v}
					if other, twice := unique[p]; twice {
						t.Fatalf("%v belongs to %s and %s", p, other, r.ID)
					}
					unique[p] = r.ID
				}
			}
			for _, reference := range table.References() {
				if v, ok := o[reference.Field].(object); ok {
					p := place{table.Name, reference.Field, v["id"].(string)}
					children[p] = append(children[p], r.ID)
					if _, ok := im.Get(reference.Table, uuid.MustParse(p.value)); !ok {
						t.Fatalf("%s %s refers to a row that is not there", table.Name, r.ID)
					}
				}
			}
			if list, ok := o["tags"].([]any); ok {
				for _, tag := range list {
					p := place{table.Name, "tags", tag.(string)}
					tagged[p] = append(tagged[p], r.ID)
				}
			}
			if table.CacheKey != nil {
				if got, ok := im.ByCacheKey(table.Name, o); !ok || got != r {
					t.Fatalf("%s %s is not found by its cache key", table.Name, r.ID)
				}
			}
			return true
		})
		if n := im.Len(table.Name); n != count {
			t.Fatalf("%s has %d rows and says %d", table.Name, count, n)
		}
	}
	for p, want := range unique {
		if r, ok := im.ByKey(p.table, p.field, p.value); !ok || r.ID != want {
			t.Fatalf("%v: found %v, want %s", p, r, want)
		}
	}
	walk := func(table string, ascend func(yield func(*store.Row) bool)) (ids []store.ID) {
		ascend(func(r *store.Row) bool {
			if now, _ := im.Get(table, r.ID); now != r {
				t.Fatalf("an index has an old row of %s", r.ID)
			}
			ids = append(ids, r.ID)
			return true
		})
		return ids
	}
	for _, table := range im.Catalog().Tables() {
		for _, reference := range table.References() {
			for n := range byte(8) {
				got := walk(table.Name, func(yield func(*store.Row) bool) {
					im.AscendChildren(table.Name, reference.Field, num(n), store.ID{}, yield)
				})
				if want := children[place{table.Name, reference.Field, str(n)}]; !slices.Equal(want, got) {
					t.Fatalf("%s by %s %s: %v, want %v", table.Name, reference.Field, num(n), got, want)
				}
			}
		}
	}
	all := make(map[place][]store.ID)
	im.Tags(store.Tagging{}, func(tagging store.Tagging) bool {
		p := place{tagging.Table, "tags", tagging.Tag}
		all[p] = append(all[p], tagging.ID)
		return true
	})
	if !cmp.Equal(tagged, all) {
		t.Fatalf("tags (-want +got):\n%s", cmp.Diff(tagged, all))
	}
	for p, want := range tagged {
		got := walk(p.table, func(yield func(*store.Row) bool) { im.AscendTag(p.table, p.value, store.ID{}, yield) })
		if !slices.Equal(want, got) {
			t.Fatalf("%v: %v, want %v", p, got, want)
		}
	}
}
