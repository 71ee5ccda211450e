package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// module is the import path that all rooms share.
const module = "github.com/portcullis-gateway/portcullis"

// A room is one package and its place in the house.
type room struct {
	path  string // below the module
	floor int

	// beside lists rooms of the same floor that this one may import.
	beside []string

	// uses lists what it may import from other modules: a path and all below
	// it; of Caddy, that one package. Nothing is listed for the top floor,
	// which may use everything.
	uses []string

	// never lists rooms that stay out of sight although they are downstairs.
	never []string
}

// What several rooms use.
const (
	caddyCore      = "github.com/caddyserver/caddy/v2"
	caddyfileWords = "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddyHTTP      = "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	caddyTLS       = "github.com/caddyserver/caddy/v2/modules/caddytls"
	uuid           = "github.com/google/uuid"
	zap            = "go.uber.org/zap"
)

const top = 9

// house is the plan. A package that is not in it has no floor yet, and the
// test says so.
var house = []room{
	{path: "modules/schema", floor: 0, uses: []string{uuid}},
	{path: "modules/trie", floor: 0},
	{path: "modules/hello", floor: 0},
	{path: "modules/wheel", floor: 0},
	{path: "modules/relay", floor: 0, uses: []string{"golang.org/x/sys"}},
	{path: "modules/transform", floor: 0},
	{path: "modules/metrics", floor: 0, uses: []string{"github.com/prometheus/client_golang"}},
	{path: "modules/ports", floor: 0},
	{path: "modules/selfsigned", floor: 0},
	{path: "modules/patient", floor: 0, uses: []string{"go.uber.org/goleak"}},
	{path: "transparent", floor: 0, uses: []string{caddyCore, caddyfileWords, zap, "golang.org/x/net", "golang.org/x/sys"}},
	{path: "transparent/sites", floor: 1, uses: []string{caddyHTTP}},
	{path: "transparent/netnstest", floor: 0, uses: []string{"golang.org/x/sys"}},

	{path: "modules/entity", floor: 1, uses: []string{uuid}},
	{path: "modules/listen", floor: 1, uses: []string{caddyCore, "golang.org/x/net", "golang.org/x/sys"}},

	{path: "modules/catalog", floor: 2, uses: []string{caddyCore}},
	{path: "modules/arrival", floor: 1, uses: []string{caddyCore, caddyfileWords, caddyHTTP, zap, "github.com/mholt/caddy-l4"}},
	{path: "modules/dial", floor: 2, uses: []string{"golang.org/x/sys"}},
	{path: "modules/firewall", floor: 2, uses: []string{caddyCore, zap, "golang.org/x/sys"}},
	{path: "modules/outlet", floor: 3, uses: []string{caddyCore, caddyfileWords, caddyHTTP, caddyHTTP + "/headers", caddyHTTP + "/reverseproxy"}},
	{path: "modules/queue", floor: 1, uses: []string{zap, "github.com/prometheus/client_golang"}},
	{path: "modules/inline", floor: 2, uses: []string{caddyfileWords, uuid}},
	{path: "modules/store", floor: 2, uses: []string{uuid, zap, "github.com/tidwall/btree"}},
	{path: "modules/declarative", floor: 2, beside: []string{"modules/store"}, uses: []string{uuid, "go.yaml.in/yaml/v3"}},

	{path: "modules/store/storetest", floor: 3, uses: []string{uuid, "github.com/google/go-cmp"}},
	{path: "modules/store/bolt", floor: 3, uses: []string{caddyCore, caddyfileWords, zap, "go.etcd.io/bbolt"}},
	{path: "modules/store/memory", floor: 3, uses: []string{caddyCore, caddyfileWords, uuid, zap}},

	{path: "modules/router", floor: 4, uses: []string{uuid, "github.com/gaissmai/bart"}},
	{path: "modules/dns", floor: 1, uses: []string{"github.com/miekg/dns"}},
	{path: "modules/balancer", floor: 4, uses: []string{uuid, zap}},
	{path: "modules/balancer/health", floor: 4, beside: []string{"modules/balancer"}, uses: []string{uuid, zap, "github.com/prometheus/client_golang"}},
	{path: "modules/certs", floor: 4, uses: []string{uuid, "github.com/caddyserver/certmagic"}},
	{path: "modules/http1", floor: 4, uses: []string{"golang.org/x/net/http/httpguts"}},
	{path: "modules/serve", floor: 4, beside: []string{"modules/http1"}, uses: []string{caddyCore, zap, "github.com/pires/go-proxyproto", "github.com/quic-go/quic-go"}},

	{path: "modules/plugin", floor: 5, uses: []string{caddyCore, uuid, zap}},
	{path: "modules/plugin/plugintest", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid, zap}},
	{path: "modules/plugin/stock", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, caddyHTTP, zap, "github.com/mholt/caddy-l4"}},
	{path: "modules/plugin/acl", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid}},
	{path: "modules/plugin/basicauth", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid, "golang.org/x/crypto/argon2", "golang.org/x/crypto/bcrypt"}},
	{path: "modules/plugin/correlationid", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid}},
	{path: "modules/plugin/cors", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore}},
	{path: "modules/plugin/hmacauth", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid}},
	{path: "modules/plugin/iprestriction", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, "github.com/gaissmai/bart"}},
	{path: "modules/plugin/jwt", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid, "github.com/golang-jwt/jwt"}},
	{path: "modules/plugin/keyauth", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid}},
	{path: "modules/plugin/ratelimiting", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid, zap, "github.com/redis/go-redis/v9"}},
	{path: "modules/plugin/requestsizelimiting", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore}},
	{path: "modules/plugin/logentry", floor: 5, beside: []string{"modules/plugin"}, uses: []string{uuid, caddyCore}},
	{path: "modules/plugin/filelog", floor: 5, beside: []string{"modules/plugin", "modules/plugin/logentry"}, uses: []string{caddyCore, zap}},
	{path: "modules/plugin/httplog", floor: 5, beside: []string{"modules/plugin", "modules/plugin/logentry"}, uses: []string{caddyCore}},
	{path: "modules/plugin/prometheus", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, "github.com/prometheus/client_golang"}},
	{path: "modules/plugin/requesttermination", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, uuid}},
	{path: "modules/plugin/requesttransformer", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, zap}},
	{path: "modules/plugin/responsetransformer", floor: 5, beside: []string{"modules/plugin"}, uses: []string{caddyCore, zap}},

	{path: "modules/snapshot", floor: 6, uses: []string{uuid}},
	{path: "modules/node", floor: 6, beside: []string{"modules/snapshot"}, uses: []string{caddyCore, uuid, zap}},

	{path: "modules/gateway", floor: 7, uses: []string{caddyCore, caddyfileWords, caddyTLS, zap, "github.com/prometheus/client_golang", "github.com/caddyserver/certmagic", "github.com/gaissmai/bart", "golang.org/x/net"}},

	{path: "modules/proxy", floor: 8, uses: []string{uuid, caddyCore, caddyfileWords, caddyHTTP, caddyTLS, zap, "golang.org/x/net", "github.com/caddyserver/certmagic"}},
	{path: "modules/site", floor: 8, beside: []string{"modules/proxy"}, uses: []string{uuid, caddyCore, caddyfileWords, caddyHTTP, zap}},
	{path: "modules/stream", floor: 8, uses: []string{uuid, caddyCore, caddyfileWords, zap, "github.com/mholt/caddy-l4", "github.com/pires/go-proxyproto", "github.com/prometheus/client_golang", "golang.org/x/sys"}},
	{path: "admin", floor: 8, uses: []string{caddyCore, uuid, zap, "github.com/prometheus/client_golang"}, never: []string{"modules/router", "modules/snapshot"}},

	{path: "caddyfile", floor: top},
	{path: "modules/command", floor: top},
	{path: "", floor: top, beside: []string{"caddyfile", "modules/command"}},
	{path: "integration", floor: top},
	{path: "integration/caddy", floor: top, beside: []string{""}},
	{path: "bench", floor: 0}, // a program beside the house; it knows nothing of it
}

// TestFloors holds the packages to the house's one rule: imports go
// downstairs only.
func TestFloors(t *testing.T) {
	for _, system := range []string{"linux", "darwin", "freebsd", "windows"} {
		t.Run(system, func(t *testing.T) {
			t.Parallel()
			for _, pkg := range packages(t, system) {
				path := strings.TrimPrefix(strings.TrimPrefix(pkg.ImportPath, module), "/")
				room, ok := find(path)
				if !ok {
					t.Errorf("%s has no floor: give it a place in the house of floors_test.go, and in docs/architecture.md", path)
					continue
				}
				for _, imported := range pkg.Imports {
					if complaint := room.complain(imported); complaint != "" {
						t.Error(complaint)
					}
				}
			}
		})
	}
}

// complain answers the sentence that explains why r must not import path, or
// nothing.
func (r *room) complain(path string) string {
	name := r.name()
	if below, ok := strings.CutPrefix(path, module); ok {
		below = strings.TrimPrefix(below, "/")
		other, ok := find(below)
		switch {
		case !ok:
			return name + " imports " + below + ", which has no floor"
		case slices.Contains(r.never, below):
			return name + " must not know " + below + ": it asks the node, which does"
		case other.floor > r.floor:
			return name + " imports " + below + ", which is upstairs: imports go downstairs only; declare the small interface that is wanted, and let the upper room fit"
		case other.floor == r.floor && !slices.Contains(r.beside, below):
			return name + " imports " + below + ", its neighbour: rooms of one floor do not know each other"
		}
		return ""
	}

	first, _, _ := strings.Cut(path, "/")
	if r.floor == top || !strings.Contains(first, ".") {
		return "" // the street may use everything, and everyone the standard library
	}
	for _, use := range r.uses {
		if path == use || !strings.HasPrefix(use, caddyCore) && strings.HasPrefix(path, use+"/") {
			return ""
		}
	}
	return name + " imports " + path + ", which its floor does not use: the lower a room, the less it needs; if it truly does, list it in floors_test.go and say why in docs/architecture.md"
}

// name is what a reader calls the room.
func (r *room) name() string {
	if r.path == "" {
		return "the root package"
	}
	return r.path
}

// find answers the room at path.
func find(path string) (*room, bool) {
	i := slices.IndexFunc(house, func(r room) bool { return r.path == path })
	if i < 0 {
		return nil, false
	}
	return &house[i], true
}

// A listed package is what `go list -json` says of it.
type listed struct {
	ImportPath string
	Imports    []string
}

// packages lists all packages of the module as they are built for system.
func packages(t *testing.T, system string) []listed {
	t.Helper()
	var complaints bytes.Buffer
	list := exec.Command("go", "list", "-e", "-json=ImportPath,Imports", "./...")
	list.Dir = ".."
	list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
	list.Stderr = &complaints
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, complaints.Bytes())
	}

	var all []listed
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg listed
		switch err := decoder.Decode(&pkg); {
		case errors.Is(err, io.EOF):
			return all
		case err != nil:
			t.Fatalf("go list: %v", err)
		}
		all = append(all, pkg)
	}
}

// TestFloors_complaints makes sure that the rule can fail.
func TestFloors_complaints(t *testing.T) {
	for _, tt := range []struct{ name, room, path, want string }{
		{"upstairs", "modules/router", module + "/modules/snapshot", "upstairs"},
		{"neighbour", "modules/proxy", module + "/admin", "neighbour"},
		{"hidden room", "admin", module + "/modules/router", "must not know"},
		{"foreign module", "modules/router", caddyCore, "does not use"},
		{"below what is listed", "modules/gateway", caddyHTTP, "does not use"},
		{"unplanned room", "admin", module + "/modules/util", "no floor"},
		{"downstairs", "modules/router", module + "/modules/trie", ""},
		{"listed neighbour", "modules/node", module + "/modules/snapshot", ""},
		{"standard library", "modules/trie", "net/netip", ""},
		{"street", "caddyfile", caddyHTTP, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			room, ok := find(tt.room)
			if !ok {
				t.Fatalf("no room %q", tt.room)
			}
			got := room.complain(tt.path)
			if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%s imports %s: got %q, want %q", tt.room, tt.path, got, tt.want)
			}
		})
	}
}
