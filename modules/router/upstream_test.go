package router_test

import (
	"os"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

// TestUpstreamPath matches the requests of testdata/upstream_path.txt, so that
// the prefix is that of a real match.
func TestUpstreamPath(t *testing.T) {
	text, err := os.ReadFile("testdata/upstream_path.txt")
	if err != nil {
		t.Fatal(err)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == "#" {
			continue
		}
		if len(f) != 6 {
			t.Fatalf("line %d: %d fields, want 6", number, len(f))
		}
		r := &entity.Route{Hosts: []string{"a.com"}}
		if f[1] != "-" {
			r.Paths = []string{f[1]}
		}
		e := router.New[bool]().Edit()
		if err := e.Add(r, true); err != nil {
			t.Fatal(err)
		}
		path := entity.NormalizePath(f[3])
		m, ok := e.Index().Match(&router.Request{Host: "a.com", Path: path})
		if !ok {
			t.Fatalf("line %d: the request does not match", number)
		}
		for _, strip := range []bool{false, true} {
			if f[2] == "yes" && !strip || f[2] == "no" && strip {
				continue
			}
			for i, handling := range []string{"v0", "v1"} {
				if got, want := router.UpstreamPath(f[0], path, m.Prefix, strip, handling), f[4+i]; got != want {
					t.Errorf("line %d: service %s, route %s, strip_path %v, %s: request %s asks for %s, want %s",
						number, f[0], f[1], strip, handling, f[3], got, want)
				}
			}
		}
	}
}

func TestUpstreamPath_serviceWithoutPath(t *testing.T) {
	if got := router.UpstreamPath("", "/a/b", "/a", true, "v0"); got != "/b" {
		t.Errorf("got %q, want /b", got)
	}
}
