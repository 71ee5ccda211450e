package admin

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEndpoints_find(t *testing.T) {
	var table endpoints
	for _, pattern := range []string{"/", "/plugins", "/plugins/enabled", "/plugins/:plugins", "/schemas/:name", "/schemas/:entity/validate", "/schemas/plugins/:name"} {
		table.add(endpoint{pattern: pattern, verbs: verbs{"GET": getTimers}})
	}
	for _, tt := range []struct {
		name, path, want string
		params           []string
	}{
		{"root", "/", "/", nil},
		{"literal", "/plugins", "/plugins", nil},
		{"slash at the end", "/plugins/", "/plugins", nil},
		{"two slashes at the end", "/plugins//", "", nil},
		{"literal before parameter", "/plugins/enabled", "/plugins/enabled", nil},
		{"parameter", "/plugins/x", "/plugins/:plugins", []string{"x"}},
		{"decoded", "/plugins/a%20b%2Fc", "/plugins/:plugins", []string{"a b/c"}},
		{"badly encoded", "/plugins/%zz", "/plugins/:plugins", []string{"%zz"}},
		{"way back from a literal", "/schemas/plugins/validate", "/schemas/plugins/:name", []string{"validate"}},
		{"way back to a parameter", "/schemas/routes/validate", "/schemas/:entity/validate", []string{"routes"}},
		{"too long", "/plugins/x/y", "", nil},
		{"not from the root", "plugins", "", nil},
		{"nothing", "", "", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e, params := table.find(tt.path)
			got := ""
			if e != nil {
				got = e.pattern
			}
			if got != tt.want || len(tt.params) > 0 && !slices.Equal(params, tt.params) {
				t.Errorf("%s: got %s %q, want %s %q", tt.path, got, params, tt.want, tt.params)
			}
		})
	}
}

func TestEndpoints_paths(t *testing.T) {
	var table endpoints
	for _, pattern := range []string{"/ab", "/a/z", "/a", "/", "/ab/:a", "/ab/:a/b"} {
		table.add(endpoint{pattern: pattern, verbs: verbs{"GET": getTimers}})
	}
	want := []string{"/", "/a", "/a/z", "/ab", "/ab/{a}", "/ab/{a}/b"}
	if diff := cmp.Diff(want, table.paths()); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestEndpoints_twoNames makes sure that a parameter has one name in one
// place.
func TestEndpoints_twoNames(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no complaint")
		}
	}()
	var table endpoints
	table.add(endpoint{pattern: "/a/:b"})
	table.add(endpoint{pattern: "/a/:c"})
}
