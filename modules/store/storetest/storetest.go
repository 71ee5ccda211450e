// Package storetest checks that a store driver keeps the promises of
// store.Driver.
package storetest

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

// Place is one store for the length of a test.
type Place struct {
	// Open opens the store. The suite closes what it opened, and opens a store
	// again only after that.
	Open func() (store.Driver, error)

	// Forgets tells that what was committed is gone when the store is closed.
	// The suite then looks at it before.
	Forgets bool
}

// Run checks a driver. It asks for a new, empty place for each test.
func Run(t *testing.T, place func(t *testing.T) Place) {
	for _, tt := range []struct {
		name string
		run  func(t *testing.T, p Place)
	}{
		{"an empty store has no rows", testEmpty},
		{"what was committed is there after reopening", testReopen},
		{"changes are applied in their order", testOrder},
		{"rows come table by table, sorted", testSorted},
		{"a large commit is one commit", testLarge},
		{"rows outlive the driver", testOutlive},
		{"loading stops when told", testStop},
		{"readers see whole commits", testReaders},
		{"a context that ended", testContext},
		{"after Close", testClose},
		{"entities come back as they were", testEntities},
		{"counters, if there are any", testCounters},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, place(t)) })
	}
}

func open(t *testing.T, p Place) store.Driver {
	t.Helper()
	d, err := p.Open()
	if err != nil {
		t.Fatalf("opening the store: %v", err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// reopen closes the store and opens it again, unless it would forget.
func reopen(t *testing.T, p Place, d store.Driver) store.Driver {
	t.Helper()
	if p.Forgets {
		return d
	}
	if err := d.Close(); err != nil {
		t.Fatalf("closing the store: %v", err)
	}
	return open(t, p)
}

func commit(t *testing.T, d store.Driver, changes ...store.Change) {
	t.Helper()
	if err := d.Commit(t.Context(), changes); err != nil {
		t.Fatalf("committing %d changes: %v", len(changes), err)
	}
}

// content is what a driver loads, as "table id" to data, in the order in which
// it came.
func content(t *testing.T, d store.Driver) ([]string, map[string]string) {
	t.Helper()
	var order []string
	rows := make(map[string]string)
	err := d.Load(t.Context(), func(table string, r *store.Row, bad error) bool {
		if bad != nil {
			t.Errorf("%s %s is bad: %v", table, r.ID, bad)
		}
		key := table + " " + r.ID.String()
		if _, twice := rows[key]; twice {
			t.Errorf("%s came twice", key)
		}
		order = append(order, key)
		rows[key] = string(r.Data)
		return true
	})
	if err != nil {
		t.Fatalf("loading: %v", err)
	}
	return order, rows
}

// id is an identifier that sorts by n.
func id(n int) store.ID {
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], uint64(n)+1)
	return id
}

func row(n int, text string) *store.Row {
	return &store.Row{ID: id(n), Data: fmt.Appendf(nil, `{"id":"%s","name":"%s"}`, id(n), text)}
}

func insert(table string, r *store.Row) store.Change { return store.Change{Table: table, After: r} }
func remove(table string, r *store.Row) store.Change { return store.Change{Table: table, Before: r} }

func want(rows ...store.Change) map[string]string {
	m := make(map[string]string)
	for _, c := range rows {
		m[c.Table+" "+c.After.ID.String()] = string(c.After.Data)
	}
	return m
}

func testEmpty(t *testing.T, p Place) {
	d := open(t, p)
	if order, _ := content(t, d); len(order) != 0 {
		t.Errorf("found %q", order)
	}
	if err := d.Commit(t.Context(), nil); err != nil {
		t.Errorf("committing nothing: %v", err)
	}
	d = reopen(t, p, d)
	if order, _ := content(t, d); len(order) != 0 {
		t.Errorf("found %q after reopening", order)
	}
}

func testReopen(t *testing.T, p Place) {
	d := open(t, p)
	a, b, c := row(1, "a"), row(2, "b"), row(1, "same id, other table")
	big := row(3, strings.Repeat("é", 1<<20))
	commit(t, d, insert("services", a), insert("services", b), insert("routes", c), insert("services", big))
	b2 := row(2, "b changed")
	commit(t, d, store.Change{Table: "services", Before: b, After: b2})
	commit(t, d, remove("services", a))

	expected := want(insert("services", b2), insert("services", big), insert("routes", c))
	if _, got := content(t, d); !cmp.Equal(expected, got) {
		t.Errorf("before closing (-want +got):\n%s", cmp.Diff(expected, got))
	}
	d = reopen(t, p, d)
	if _, got := content(t, d); !cmp.Equal(expected, got) {
		t.Errorf("after reopening (-want +got):\n%s", cmp.Diff(expected, got))
	}
}

func testOrder(t *testing.T, p Place) {
	d := open(t, p)
	a, a2 := row(1, "a"), row(1, "a again")
	commit(t, d, insert("services", a), remove("services", a), insert("services", a2))
	commit(t, d, remove("services", row(9, "never there")), remove("no_such_table", row(9, "x")))
	expected := want(insert("services", a2))
	if _, got := content(t, d); !cmp.Equal(expected, got) {
		t.Errorf("(-want +got):\n%s", cmp.Diff(expected, got))
	}
}

func testSorted(t *testing.T, p Place) {
	d := open(t, p)
	for _, n := range []int{5, 300, 1, 70000, 2} {
		commit(t, d, insert("services", row(n, "x")), insert("routes", row(n, "x")))
	}
	order, _ := content(t, d)
	seen := make(map[string]bool)
	var last, table string
	for _, key := range order {
		if now, _, _ := strings.Cut(key, " "); now != table {
			if seen[now] {
				t.Errorf("the rows of %s do not come together: %q", now, order)
			}
			seen[now], table, last = true, now, ""
		}
		if key < last {
			t.Errorf("%s came after %s", key, last)
		}
		last = key
	}
	if len(order) != 10 {
		t.Errorf("found %d rows, want 10", len(order))
	}
}

func testLarge(t *testing.T, p Place) {
	const n = 5_000
	d := open(t, p)
	changes := make([]store.Change, n)
	for i := range changes {
		changes[i] = insert("routes", row(i*7919%n, fmt.Sprintf("route %d", i)))
	}
	commit(t, d, changes...)
	d = reopen(t, p, d)
	expected := want(changes...)
	if _, got := content(t, d); !cmp.Equal(expected, got) {
		t.Errorf("found %d rows that are not the %d committed", len(got), n)
	}
	for i, c := range changes {
		changes[i] = remove(c.Table, c.After)
	}
	commit(t, d, changes...)
	if order, _ := content(t, d); len(order) != 0 {
		t.Errorf("%d rows are left after all were deleted", len(order))
	}
}

func testOutlive(t *testing.T, p Place) {
	d := open(t, p)
	committed := row(1, strings.Repeat("long enough for a page ", 1000))
	commit(t, d, insert("services", committed))
	var loaded *store.Row
	if err := d.Load(t.Context(), func(_ string, r *store.Row, _ error) bool { loaded = r; return true }); err != nil {
		t.Fatal(err)
	}
	commit(t, d, store.Change{Table: "services", Before: committed, After: row(1, strings.Repeat("overwritten ", 2000))})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if loaded == nil || string(loaded.Data) != string(committed.Data) {
		t.Error("the bytes of a loaded row changed afterwards")
	}
}

func testStop(t *testing.T, p Place) {
	d := open(t, p)
	commit(t, d, insert("services", row(1, "a")), insert("services", row(2, "b")), insert("routes", row(3, "c")))
	calls := 0
	err := d.Load(t.Context(), func(string, *store.Row, error) bool { calls++; return false })
	if err != nil || calls != 1 {
		t.Errorf("yield was called %d times after it said stop, error %v", calls, err)
	}
}

// testReaders commits two rows that always agree, while others load.
func testReaders(t *testing.T, p Place) {
	d := open(t, p)
	pair := func(i int) []store.Change {
		text := fmt.Sprint(i)
		return []store.Change{insert("routes", row(1, text)), insert("services", row(2, text))}
	}
	commit(t, d, pair(0)...)
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				var texts []string
				err := d.Load(context.Background(), func(_ string, r *store.Row, _ error) bool {
					texts = append(texts, string(r.Data[len(`{"id":"","name":"`)+36:]))
					return true
				})
				if err != nil || len(texts) != 2 || texts[0] != texts[1] {
					t.Errorf("a reader saw %q, error %v", texts, err)
					return
				}
			}
		})
	}
	for i := range 50 {
		commit(t, d, pair(i+1)...)
	}
	close(done)
	readers.Wait()
}

func testContext(t *testing.T, p Place) {
	d := open(t, p)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Load(ctx, func(string, *store.Row, error) bool { return true }); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Load: %v", err)
	}
	err := d.Commit(ctx, []store.Change{insert("services", row(1, "a"))})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Commit: %v", err)
	}
	if err != nil {
		if order, _ := content(t, d); len(order) != 0 {
			t.Errorf("a commit that failed left %q", order)
		}
	}
}

func testClose(t *testing.T, p Place) {
	d := open(t, p)
	for range 2 {
		if err := d.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	if err := d.Commit(t.Context(), []store.Change{insert("services", row(1, "a"))}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Commit: %v, want ErrClosed", err)
	}
	if err := d.Load(t.Context(), func(string, *store.Row, error) bool { return true }); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Load: %v, want ErrClosed", err)
	}
}
