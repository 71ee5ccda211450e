package declarative

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// TestLifetime: a lifetime of a document begins when it is read, a moment is one,
// and exports have moments. So what was exported may be brought in again and again
// without a longer life.
func TestLifetime(t *testing.T) {
	catalog := entity.NewCatalog(map[string]entity.PluginKind{"pass": {
		Config: &schema.Fields{},
		Tables: []*schema.Table{entity.Credential("passes", "passes", "pass", "key",
			schema.Field{Name: "key", Kind: schema.String, Unique: true}, entity.Lifetime())},
	}})
	image := store.NewImage(catalog)
	now := time.Now().Truncate(time.Second).Add(time.Millisecond)
	sync := func(text string) Summary {
		t.Helper()
		now = now.Add(time.Minute)
		rows, errs := parse(t, text).Resolve(catalog, Options{Now: now})
		if errs != nil {
			t.Fatal(errs)
		}
		tx := store.Begin(image, store.Options{Now: now})
		sum, err := Sync(tx, rows, SyncOptions{})
		if err != nil {
			t.Fatal(err)
		}
		image = tx.Image()
		return sum
	}
	moment := now.Add(24 * time.Hour).Unix()
	sum := sync(fmt.Sprintf(`_format_version: "3.0"
consumers:
- username: anna
  passes:
  - {key: lifetime, ttl: 3600}
  - {key: moment, ttl: %d}
  - {key: stays, ttl: null}
  - {key: over, ttl: %d}
`, moment, now.Add(-time.Hour).Unix()))
	if sum.Created["passes"] != 3 {
		t.Errorf("%d were created, want 3: nobody would see the one that is over", sum.Created["passes"])
	}
	var exported strings.Builder
	if err := Export(&exported, image, YAML); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"lifetime": fmt.Sprint(now.Unix() + 3601), // begun seconds count as whole ones
		"moment":   fmt.Sprint(moment), "stays": "null",
	} {
		r, ok := image.ByKey("passes", "key", key)
		if !ok {
			t.Fatalf("there is no %s", key)
		}
		if _, text, _ := strings.Cut(exported.String(), "- id: "+r.ID.String()); !strings.Contains(text[:strings.Index(text+"\n- id", "\n- id")], "ttl: "+want+"\n") {
			t.Errorf("%s was exported without ttl: %s\n%s", key, want, exported.String())
		}
	}
	if sum := sync(exported.String()); sum.Unchanged["passes"] != 3 || len(sum.Updated) > 0 {
		t.Errorf("the export of what is there changes it: %+v", sum)
	}
}
