package storetest

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

// testCounters checks the promises of store.Counters, which not every driver
// makes.
func testCounters(t *testing.T, p Place) {
	d := open(t, p)
	c, ok := d.(store.Counters)
	if !ok {
		return
	}
	hour := time.Now().Truncate(time.Hour).Add(2 * time.Hour)
	is := func(what string, want []int64, list ...store.Count) {
		t.Helper()
		got, err := c.Count(t.Context(), list)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: got %v, %v, want %v", what, got, err, want)
		}
	}
	a, b := store.Count{Key: "a", Until: hour}, store.Count{Key: "b", Until: hour}
	plus := func(c store.Count, n int64) store.Count {
		c.Add = n
		return c
	}
	is("nothing counted", []int64{0, 0}, a, b)
	is("the first", []int64{2}, plus(a, 2))
	is("adding, reading and adding to the same", []int64{5, 0, 6}, plus(a, 3), b, plus(a, 1))
	is("down", []int64{4}, plus(a, -2))
	is("none", []int64{})

	over := store.Count{Key: "a", Until: time.Now().Add(-time.Minute), Add: 7}
	if _, err := c.Count(t.Context(), []store.Count{over}); err != nil {
		t.Error(err)
	}
	is("another counter of that key is over", []int64{1, 0, 4}, plus(b, 1), plus(over, 0), a)

	if order, _ := content(t, d); len(order) != 0 {
		t.Errorf("counters are rows: %v", order)
	}
	commit(t, d, store.Change{Table: "services", After: row(1, "{}")})

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := c.Count(t.Context(), []store.Count{plus(a, 1), plus(b, 2)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	is("many at a time", []int64{164, 321}, a, b)

	var many []store.Count
	for i := range 5000 {
		many = append(many, store.Count{Key: fmt.Sprint(i * 7919 % 5000), Until: hour, Add: int64(i)})
	}
	if _, err := c.Count(t.Context(), many); err != nil {
		t.Error(err)
	}

	d = reopen(t, p, d)
	c = d.(store.Counters)
	is("after reopening", []int64{164, 321, 4999}, a, b, plus(many[4999], 0))
	if order, _ := content(t, d); len(order) != 1 {
		t.Errorf("the rows are %v, want one", order)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Count(t.Context(), []store.Count{a}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
