package store_test

import (
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// passes makes images with consumers and a table of passes, which they may have
// for a time.
func passes() *store.Image {
	return store.NewImage(entity.NewCatalog(map[string]entity.PluginKind{"pass": {
		Config: &schema.Fields{},
		Tables: []*schema.Table{entity.Credential("passes", "passes", "pass", "key",
			schema.Field{Name: "key", Kind: schema.String, Unique: true}, entity.Lifetime())},
	}}))
}

// TestLifetime_overIsGone: nobody sees a row whose time is over, though it is still
// there; it is buried, and then its key is free.
func TestLifetime_overIsGone(t *testing.T) {
	past := time.Now().Truncate(time.Second).Add(time.Millisecond - time.Hour)
	tx := store.Begin(passes(), store.Options{Now: past})
	must := func(_ object, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(tx.Insert("consumers", object{"id": str(1), "username": "anna"}))
	must(tx.Insert("passes", object{"id": str(2), "consumer": ref(1), "key": "over", "ttl": int64(60), "tags": []any{"x"}}))
	must(tx.Insert("passes", object{"id": str(3), "consumer": ref(1), "key": "lasts", "ttl": int64(7200), "tags": []any{"x"}}))
	must(tx.Insert("passes", object{"id": str(4), "consumer": ref(1), "key": "stays", "tags": []any{"x"}}))

	loaded, problems, err := store.Load(t.Context(), tx.Image().Catalog(), tx.Image())
	if err != nil || len(problems) > 0 {
		t.Fatal(err, problems)
	}
	for which, im := range map[string]*store.Image{"written": tx.Image(), "loaded": loaded} {
		got := ""
		see := func(r *store.Row) bool { got += string('0' + r.ID[15]); return true }
		im.Ascend("passes", store.ID{}, see)
		im.AscendChildren("passes", "consumer", num(1), store.ID{}, see)
		im.AscendTag("passes", "x", store.ID{}, see)
		im.Tags(store.Tagging{}, func(tag store.Tagging) bool { got += string('0' + tag.ID[15]); return true })
		if got != "34343434" {
			t.Errorf("%s: saw %q", which, got)
		}
		if _, ok := im.Get("passes", num(2)); ok {
			t.Errorf("%s: found by its id", which)
		}
		if _, ok := im.ByKey("passes", "key", "over"); ok {
			t.Errorf("%s: found by its key", which)
		}
		if at, some := im.NextEnd(); !some || at.Unix() != past.Unix()+61 {
			t.Errorf("%s: the next end is at %v, %t", which, at, some)
		}
	}

	tx = store.Begin(loaded, store.Options{})
	if _, err := tx.Update("passes", store.Key{ID: num(2)}, object{"key": "again"}); err == nil {
		t.Error("what is gone was changed")
	}
	if err := tx.Bury(time.Now(), 10); err != nil {
		t.Fatal(err)
	}
	if got := summary(tx.Changes()); len(got) != 1 {
		t.Errorf("buried %v", got)
	}
	must(tx.Insert("passes", object{"consumer": ref(1), "key": "over"}))
	if at, some := tx.Image().NextEnd(); !some || at.Unix() != past.Unix()+7201 {
		t.Errorf("then the next end is at %v, %t", at, some)
	}
}

// TestBury_takesSoManyAtATime, the oldest first.
func TestBury_takesSoManyAtATime(t *testing.T) {
	tx := store.Begin(passes(), store.Options{Now: time.Now().Add(-time.Hour)})
	if _, err := tx.Insert("consumers", object{"id": str(1), "username": "anna"}); err != nil {
		t.Fatal(err)
	}
	for n := range int64(9) {
		if _, err := tx.Insert("passes", object{"consumer": ref(1), "key": string(rune('a' + n)), "ttl": 9 - n}); err != nil {
			t.Fatal(err)
		}
	}
	for _, left := range []int{5, 1, 0, 0} {
		if err := tx.Bury(time.Now(), 4); err != nil {
			t.Fatal(err)
		}
		if got := tx.Image().Len("passes"); got != left {
			t.Errorf("%d are left, want %d", got, left)
		}
	}
}

// TestDelete_takesTheDeadAlong: a parent goes, and with it what nobody sees any
// more.
func TestDelete_takesTheDeadAlong(t *testing.T) {
	tx := store.Begin(passes(), store.Options{Now: time.Now().Add(-time.Hour)})
	_, err := tx.Insert("consumers", object{"id": str(1), "username": "anna"})
	if err == nil {
		_, err = tx.Insert("passes", object{"consumer": ref(1), "key": "over", "ttl": int64(1)})
	}
	if err == nil {
		_, err = tx.Delete("consumers", store.Key{ID: num(1)})
	}
	if err != nil || tx.Image().Len("passes") > 0 {
		t.Errorf("%d are left, %v", tx.Image().Len("passes"), err)
	}
}
