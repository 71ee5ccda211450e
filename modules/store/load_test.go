package store_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

func TestLoad_isTheImageThatWasWritten(t *testing.T) {
	cert, key := pair()
	s := begin(t, empty())
	s.insert("certificates", object{"cert": cert, "key": key, "snis": []any{"a.com", "b.com"}})
	s.insert("services", object{"id": str(1), "name": "naïve", "url": "https://a", "tags": []any{`odd \ "tag"`, "x"}})
	s.insert("routes", object{"id": str(2), "name": "r", "paths": []any{"/a", "~/b$"}, "service": ref(1)})
	s.insert("plugins", object{"name": "rate-limiting", "route": ref(2), "config": object{"minute": 1.5}})
	s.insert("upstreams", object{"id": str(3), "name": "pool", "healthchecks": object{"active": object{"headers": object{"x": []any{"1"}}}}})
	s.insert("targets", object{"upstream": ref(3), "target": "10.0.0.1:80"})
	want := s.tx.Image()

	got := load(t, want.Catalog(), s.tx.Changes())
	if a, b := everything(want), everything(got); !cmp.Equal(a, b) {
		t.Errorf("(-written +loaded):\n%s", cmp.Diff(a, b))
	}
	if r, ok := got.ByKey("services", "name", "naïve"); !ok || r.ID != num(1) {
		t.Error("the service is not found by its name")
	}
	if _, ok := got.ByCacheKey("plugins", object{"name": "rate-limiting", "route": ref(2)}); !ok {
		t.Error("the plugin is not found by its cache key")
	}
	again, problems, err := store.Load(t.Context(), want.Catalog(), got)
	if err != nil || len(problems) > 0 || !cmp.Equal(everything(want), everything(again)) {
		t.Errorf("an image loaded from an image differs: %v %v", err, problems)
	}
}

// withBad yields a list and then rows that are bad.
type withBad struct {
	list
	bad map[*store.Row]error
}

func (l withBad) Load(ctx context.Context, yield func(string, *store.Row, error) bool) error {
	err := l.list.Load(ctx, yield)
	for r, reason := range l.bad {
		yield("routes", r, reason)
	}
	return err
}

func TestLoad_reportsProblemsAndGoesOn(t *testing.T) {
	good := fmt.Sprintf(`{"id":"%s","name":"good","host":"h","service":null}`, str(1))
	for _, tt := range []struct {
		name, table, data string
		reason            string
		kept              bool
	}{
		{"empty", "services", ``, "the JSON text ends too early", false},
		{"cut off", "services", good[:40], "the JSON text ends too early", false},
		{"not JSON", "services", strings.Replace(good, `,"name"`, `;"name"`, 1), `unexpected ';' at position 44`, false},
		{"not an object", "services", `[]`, `unexpected '[' at position 0`, false},
		{"more behind it", "services", good + good, fmt.Sprintf(`unexpected '{' at position %d`, len(good)), false},
		{"no id", "services", `{"name":"x"}`, "its data is that of a row with the id null", false},
		{"other id", "services", strings.Replace(good, str(1), str(3), 1), `its data is that of a row with the id "` + str(3) + `"`, false},
		{"name of the wrong kind", "services", fmt.Sprintf(`{"id":"%s","name":[1]}`, str(2)), "name: a value of the wrong kind", false},
		{"tags of the wrong kind", "services", fmt.Sprintf(`{"id":"%s","tags":"x"}`, str(2)), "tags: a value of the wrong kind", false},
		{"tag of the wrong kind", "services", fmt.Sprintf(`{"id":"%s","tags":["x",1]}`, str(2)), "tags: a value of the wrong kind", false},
		{"reference of the wrong kind", "routes", fmt.Sprintf(`{"id":"%s","service":{"id":"x"}}`, str(2)), "service: invalid UUID length: 1", false},
		{"unknown table", "from_a_plugin", good, "no such table in this build", false},
		{"same id", "services", good, "a row with this id came before", false},
		{"same name", "services", strings.Replace(good, str(1), str(2), 1), `name "good" belongs to the row ` + str(1) + ` already`, false},
		{"missing parent", "routes", fmt.Sprintf(`{"id":"%s","service":{"id":"%s"}}`, str(2), str(7)), "service: there is no row " + str(7) + " in services", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := num(2)
			if tt.data == good {
				id = num(1)
			}
			rows := list{
				{Table: "services", After: &store.Row{ID: num(1), Data: []byte(good)}},
				{Table: tt.table, After: &store.Row{ID: id, Data: []byte(tt.data)}},
			}
			im, problems, err := store.Load(t.Context(), catalog(), rows)
			if err != nil {
				t.Fatal(err)
			}
			if len(problems) != 1 {
				t.Fatalf("problems are %v, want one", problems)
			}
			p := problems[0]
			if p.Table != tt.table || p.ID != id || p.Reason.Error() != tt.reason || p.Kept != tt.kept {
				t.Errorf("got  %s %s %q kept %v\nwant %s %s %q kept %v", p.Table, p.ID, p.Reason, p.Kept, tt.table, id, tt.reason, tt.kept)
			}
			if r, ok := im.ByKey("services", "name", "good"); !ok || r.ID != num(1) {
				t.Error("the good row is not there")
			}
			want := 1
			if tt.kept {
				want = 2
			}
			if n := len(everything(im)); n != want {
				t.Errorf("the image has %d rows, want %d: %v", n, want, everything(im))
			}
		})
	}
}

func TestLoad_passesOnWhatTheStoreFoundBad(t *testing.T) {
	broken := errors.New("checksum")
	_, problems, err := store.Load(t.Context(), catalog(), withBad{nil, map[*store.Row]error{{ID: num(1)}: broken}})
	if err != nil || len(problems) != 1 || !errors.Is(problems[0], broken) {
		t.Fatalf("problems are %v, error %v", problems, err)
	}
	if got, want := problems[0].Error(), "routes "+str(1)+": checksum"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestLoad_failsWithItsStore(t *testing.T) {
	failed := errors.New("disk on fire")
	_, _, err := store.Load(t.Context(), catalog(), failing{failed})
	if !errors.Is(err, failed) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Load(context.Context, func(string, *store.Row, error) bool) error { return f.err }

// TestOrphans_canBeMended loads a route whose service is missing, which a
// client then sends elsewhere or deletes.
func TestOrphans_canBeMended(t *testing.T) {
	orphan := list{{Table: "routes", After: &store.Row{ID: num(1), Data: fmt.Appendf(nil,
		`{"id":"%s","protocols":["http"],"paths":["/"],"service":{"id":"%s"}}`, str(1), uuid.Max)}}}
	im, _, err := store.Load(t.Context(), catalog(), orphan)
	if err != nil {
		t.Fatal(err)
	}
	s := begin(t, im)
	s.insert("services", object{"id": str(2), "host": "a"})
	s.update("routes", store.Key{ID: num(1)}, object{"service": ref(2)})
	begin(t, im).delete("routes", num(1))
}
