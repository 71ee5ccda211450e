package memory

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap/zaptest"

	"github.com/portcullis-gateway/portcullis/modules/declarative"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/modules/store/storetest"
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Place {
		return storetest.Place{Forgets: true, Open: func() (store.Driver, error) {
			return provision(t, &Store{}).Open(t.Context(), catalog(), zaptest.NewLogger(t))
		}}
	})
}

func provision(t *testing.T, s *Store) *Store {
	t.Helper()
	if err := s.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(catalog()); err != nil {
		t.Fatal(err)
	}
	return s
}

// kongFile writes a declarative file and returns its path.
func kongFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kong.yml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const (
	yaml    = "_format_version: '3.0'\nservices:\n- name: a\n  host: example.com\n  routes:\n  - name: r\n    paths: [/]\n"
	inlined = `{"_format_version": "3.0", "services": [{"name": "a", "host": "example.com", "routes": [{"name": "r", "paths": ["/"]}]}]}`
)

func TestOpen_holdsWhatItWasGiven(t *testing.T) {
	for name, s := range map[string]*Store{
		"file":   {File: kongFile(t, yaml)},
		"config": {Config: json.RawMessage(inlined)},
	} {
		t.Run(name, func(t *testing.T) {
			driver, err := provision(t, s).Open(t.Context(), catalog(), zaptest.NewLogger(t))
			if err != nil {
				t.Fatal(err)
			}
			defer driver.Close()
			im, problems, err := store.Load(t.Context(), catalog(), driver)
			if err != nil || len(problems) > 0 {
				t.Fatal(err, problems)
			}
			service, ok := im.ByKey("services", "name", "a")
			if !ok {
				t.Fatal("the service is not there")
			}
			route, ok := im.ByKey("routes", "name", "r")
			if !ok {
				t.Fatal("the route is not there")
			}
			view, err := entity.Decode[entity.Route](route.Data)
			if err != nil || view.Service.ID != service.ID {
				t.Errorf("the route belongs to %v, want %s; error %v", view.Service, service.ID, err)
			}
			if got, want := s.Identity(), "memory:"+driver.(*Driver).Hash(); got != want {
				t.Errorf("identity %q, want %q", got, want)
			}
		})
	}
}

func TestDriver_hash(t *testing.T) {
	for name, s := range map[string]*Store{
		"nothing":          {},
		"no entities":      {File: kongFile(t, "# to be filled\n_format_version: '3.0'\nservices: []\n")},
		"none in a config": {Config: json.RawMessage(`{"_format_version": "3.0"}`)},
	} {
		driver, err := provision(t, s).Open(t.Context(), catalog(), zaptest.NewLogger(t))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got := driver.(*Driver).Hash(); got != declarative.EmptyHash {
			t.Errorf("%s: hash %s, want %s", name, got, declarative.EmptyHash)
		}
		driver.Close()
	}
}

func TestIdentity_isTheContent(t *testing.T) {
	a, b, c := kongFile(t, yaml), kongFile(t, yaml), kongFile(t, yaml+"# changed\n")
	identity := func(s *Store) string { return provision(t, s).Identity() }
	first := identity(&Store{File: a})
	if got := identity(&Store{File: b}); got != first {
		t.Errorf("the same content elsewhere: %q, want %q", got, first)
	}
	if got := identity(&Store{File: c}); got == first {
		t.Errorf("other content: %q too", got)
	}
	if err := os.WriteFile(a, []byte(yaml+"# also changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := identity(&Store{File: a}); got == first {
		t.Errorf("changed content: %q still", got)
	}
	if got, want := identity(&Store{}), "memory:"+declarative.EmptyHash; got != want {
		t.Errorf("no content: %q, want %q", got, want)
	}
}

func TestFile_placeholders(t *testing.T) {
	t.Setenv("KONG_DIR", filepath.Dir(kongFile(t, yaml)))
	provision(t, &Store{File: "{env.KONG_DIR}/kong.yml"})
}

func TestErrors(t *testing.T) {
	file := func(text string) *Store { return &Store{File: kongFile(t, text)} }
	for _, tt := range []struct {
		name  string
		store *Store
		words []string
	}{
		{"both", &Store{File: "x", Config: json.RawMessage(inlined)}, []string{"file and config exclude each other"}},
		{"empty placeholder", &Store{File: "{env.NO_SUCH_VARIABLE}"}, []string{`nothing is left of "{env.NO_SUCH_VARIABLE}"`}},
		{"missing file", &Store{File: "/no/such/kong.yml"}, []string{"reading the declarative configuration", "/no/such/kong.yml"}},
		{"not YAML", file("_format_version: '3.0'\nservices: [\n"), []string{"kong.yml", "line "}},
		{"empty file", file(""), []string{"kong.yml"}},
		{"every error, with its line", file("_format_version: '3.0'\nservices:\n- name: a\n- name: b\n  host: h\n  port: many\n"),
			[]string{"kong.yml", `line 3: service "a": host: required field missing`, `line 6: service "b": port: expected an integer`}},
		{"unknown table", &Store{Config: json.RawMessage(`{"_format_version":"3.0","nonsense":[]}`)}, []string{"config: ", "nonsense: unknown field"}},
		{"reference", &Store{Config: json.RawMessage(`{"_format_version":"3.0","routes":[{"paths":["/"],"service":"x"}]}`)},
			[]string{"config: ", "invalid reference 'service: x' (no such entry in 'services')"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.store.Provision(caddy.Context{})
			if err == nil {
				err = tt.store.Check(catalog())
				if _, opening := tt.store.Open(t.Context(), catalog(), zaptest.NewLogger(t)); fmt.Sprint(opening) != fmt.Sprint(err) {
					t.Errorf("Open says %v, Check says %v", opening, err)
				}
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, words := range tt.words {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("the error %q does not say %q", err, words)
				}
			}
		})
	}
}

func TestModule(t *testing.T) {
	s := &Store{}
	if s.Name() != "off" || !s.ReadOnly() {
		t.Errorf("name %q, read-only %v", s.Name(), s.ReadOnly())
	}
}
