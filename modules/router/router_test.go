package router_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

func TestAdd_namesTheFieldThatDoesNotCompile(t *testing.T) {
	for _, tt := range []struct {
		name  string
		route entity.Route
		want  string
	}{
		{"path", entity.Route{Paths: []string{"/a", "~/b", "~/(c"}}, `paths[2]: not a valid regex: missing closing ): "^/(c"`},
		{"what PCRE has and this engine has not", entity.Route{Paths: []string{"~/(?!a)"}}, "paths[0]: not a valid regex: invalid or unsupported Perl syntax: \"(?!\""},
		{"header", entity.Route{Headers: map[string][]string{"x-version": {"v1", "~*["}}}, `headers.x-version[1]: not a valid regex: missing closing ]: "["`},
		{"source", entity.Route{Sources: []entity.Endpoint{{Port: 1}, {IP: "10.0.0.0/99"}}}, `sources[1].ip: "10.0.0.0/99" is neither an address nor a CIDR range`},
		{"destination", entity.Route{Destinations: []entity.Endpoint{{IP: "a.com"}}}, `destinations[0].ip: "a.com" is neither an address nor a CIDR range`},
		{"port", entity.Route{Destinations: []entity.Endpoint{{Port: 65536}}}, `destinations[0].port: 65536 is not a port`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := router.New[int]().Edit()
			err := e.Add(&tt.route, 0)
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
			e.Remove(&tt.route)
			if x := e.Index(); *x != *router.New[int]() {
				t.Errorf("something was added: %+v", x)
			}
		})
	}
}

func TestAdd_replacesARouteThatRanksTheSame(t *testing.T) {
	a, b := &entity.Route{ID: routeID(1), Paths: []string{"/a"}}, &entity.Route{ID: routeID(2), Paths: []string{"/a"}}
	e := router.New[string]().Edit()
	add := func(r *entity.Route, v string) *router.Index[string] {
		t.Helper()
		if err := e.Add(r, v); err != nil {
			t.Fatal(err)
		}
		return e.Index()
	}
	add(a, "a")
	old := add(b, "old")
	x := add(b, "new")
	req := &router.Request{Path: "/a"}
	if m, _ := x.Match(req); *m.Value != "new" || x.Len() != 2 {
		t.Errorf("Match = %q, Len = %d", *m.Value, x.Len())
	}
	if m, _ := old.Match(req); *m.Value != "old" {
		t.Errorf("the old index has changed: Match = %q", *m.Value)
	}
}

// The character that stands for bytes that are not UTF-8 matches them.
func TestMatch_replacementCharacter(t *testing.T) {
	x := index(t, []*entity.Route{{Paths: []string{`~/a\x{FFFD}b`}}})
	for _, path := range []string{"/a\xffb", "/a\uFFFDb"} {
		if m, ok := x.Match(&router.Request{Path: path}); !ok || m.Prefix != path {
			t.Errorf("Match(%q) = %q, %v", path, m.Prefix, ok)
		}
	}
}

func TestCaptures_names(t *testing.T) {
	x := index(t, []*entity.Route{{Paths: []string{`~/(?<a>\d+)/(x)`}}})
	m, _ := x.Match(&router.Request{Path: "/1/x"})
	if got, want := m.Captures.Names(), []string{"", "a", ""}; !slices.Equal(got, want) {
		t.Errorf("Names() = %q, want %q", got, want)
	}
	if m.Captures.Len() != 2 {
		t.Errorf("Len() = %d, want 2", m.Captures.Len())
	}
	var none router.Captures
	if _, ok := none.Named("a"); ok || none.Len() != 0 || none.Names() != nil {
		t.Error("there are captures where nothing matched")
	}
}

func TestMatch_doesNotAllocate(t *testing.T) {
	for _, s := range settings {
		t.Run(s.name, func(t *testing.T) {
			routes, requests := s.make(1000)
			x := index(t, routes)
			i := 0
			if n := testing.AllocsPerRun(len(requests)-1, func() {
				if _, ok := x.Match(&requests[i]); !ok {
					t.Fatalf("%+v does not match", requests[i])
				}
				i = (i + 1) % len(requests)
			}); n != 0 {
				t.Errorf("%v allocations, want none", n)
			}
		})
	}
}

// The budget is that of the README; it leaves a third to spare.
func TestIndex_memory(t *testing.T) {
	const n, budget = 20_000, 800
	for _, s := range append(slices.Clone(settings), regexSettings...) {
		t.Run(s.name, func(t *testing.T) {
			routes, _ := s.make(n)
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			x := index(t, routes)
			runtime.GC()
			runtime.ReadMemStats(&after)
			perRoute := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
			if perRoute > budget {
				t.Errorf("%d bytes a route, want %d at most", perRoute, budget)
			}
			runtime.KeepAlive(x)
			runtime.KeepAlive(routes)
		})
	}
}

// What the index knows of a regular expression without running it must not
// keep it from matching.
func TestMatch_regexesAgreeWithTheEngine(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		"a", "b", "/", "/ab", "(b)", "(?<x>a)", "[ab]", "(?:ab|ac)", "(?:/a|/b)", "(a|)", "(?:)", ".", ".*", "a?", "b+", "(?:ab)+", "a*",
		"a{2}", "b{0,1}", "(?:ab){1,3}", "$", "^", `\z`, `\b`, "(?i)", "(?i:A)", "(?m)", "(?s)", "é", `\x{FFFD}`, `\.`, `\Qa.b\E`, "|", "|/", "c$",
	})
	text := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "/", ".", "é", "A", "\n", "\xff", "ab"}), 0, 6)
	rapid.Check(t, func(t *rapid.T) {
		expr := strings.Join(rapid.SliceOfN(piece, 1, 6).Draw(t, "pieces"), "")
		re, err := regexp.Compile("^" + expr)
		e := router.New[int]().Edit()
		r := &entity.Route{Paths: []string{"~" + expr}}
		if got := e.Add(r, 0); (got == nil) != (err == nil) {
			t.Fatalf("%q: Add says %v, the engine %v", expr, got, err)
		}
		if err != nil {
			return
		}
		x := e.Index()
		for range 10 {
			path := "/" + strings.Join(text.Draw(t, "path"), "")
			loc := re.FindStringSubmatchIndex(path)
			m, ok := x.Match(&router.Request{Path: path})
			if ok != (loc != nil) {
				t.Fatalf("%q matches %q: %v, want %v", expr, path, ok, loc != nil)
			}
			if !ok {
				continue
			}
			if want := path[loc[0]:loc[1]]; m.Prefix != want {
				t.Fatalf("%q in %q: prefix %q, want %q", expr, path, m.Prefix, want)
			}
			for i := 1; i <= re.NumSubexp(); i++ {
				got, ok := m.Captures.Group(i)
				if ok != (loc[2*i] >= 0) || ok && got != path[loc[2*i]:loc[2*i+1]] {
					t.Fatalf("%q in %q: group %d is %q, %v", expr, path, i, got, ok)
				}
			}
		}
	})
}

// FuzzMatch sends what clients can send to routes of all kinds.
func FuzzMatch(f *testing.F) {
	routes := map[uuid.UUID]*entity.Route{}
	e := router.New[uuid.UUID]().Edit()
	add := func(r entity.Route) {
		r.ID = uuid.NewSHA1(uuid.Nil, fmt.Append(nil, len(routes)))
		routes[r.ID] = &r
		if err := e.Add(&r, r.ID); err != nil {
			f.Fatal(err)
		}
	}
	for _, hosts := range [][]string{nil, {"a.com"}, {"*.com", "a.*"}, {"a.com:8000", "*.b.com:8000"}, {"*"}} {
		for _, paths := range [][]string{nil, {"/"}, {"/a", "/a/b", "~/a/(b|c)/"}, {"~/a$", "~/.*é"}, {"~/a|b"}} {
			for _, methods := range [][]string{nil, {"GET", "PURGE"}} {
				for _, headers := range []map[string][]string{nil, {"x": {"1", "~*^v"}}, {"x-y": {"é", "V"}}} {
					if hosts != nil || paths != nil || methods != nil || headers != nil {
						add(entity.Route{Hosts: hosts, Paths: paths, Methods: methods, Headers: headers})
					}
				}
			}
		}
	}
	for i := range 20 {
		add(entity.Route{SNIs: []string{fmt.Sprintf("%c.com", 'a'+i)}})
		add(entity.Route{Headers: map[string][]string{"x": {fmt.Sprint(i)}}})
	}
	x, m := e.Index(), newModel(routes)

	f.Add("GET", "a.com:8000", "/a/../b?c", "X", "v1", "a.com")
	f.Add("PURGE", "x.b.com", "/a/c/é", "X-Y", "É", "")
	f.Add("", "..:0x1", "%", "x_y", "\xff", ".")
	f.Fuzz(func(t *testing.T, method, host, path, name, value, sni string) {
		r := &router.Request{
			Method: method, Host: host, Path: entity.NormalizePath(path), SNI: sni, TLS: sni != "",
			Header:      http.Header{http.CanonicalHeaderKey(name): {value, "1"}},
			Source:      netip.MustParseAddrPort("127.0.0.1:1"),
			Destination: netip.MustParseAddrPort("127.0.0.1:8000"),
		}
		got, ok := x.Match(r)
		want, prefix := m.match(r)
		if ok != (want != nil) || ok && (*got.Value != want.ID || got.Prefix != prefix) {
			t.Errorf("%+v: Match = %v with %q, want %v with %q", r, got.Value, got.Prefix, want, prefix)
		}
		x.Explain(r, 5)
	})
}

// Long hosts and paths cost what they are long, not more.
func TestMatch_longRequests(t *testing.T) {
	e := router.New[int]().Edit()
	for i, r := range []*entity.Route{
		{Hosts: []string{"*.a"}}, {Hosts: []string{"a.*"}}, {Hosts: []string{"*" + strings.Repeat(".a", 1000)}},
		{Paths: []string{"/"}}, {Paths: []string{strings.Repeat("/a", 10_000)}}, {Paths: []string{"~/a.*b$"}},
	} {
		r.ID[15] = byte(i)
		if err := e.Add(r, i); err != nil {
			t.Fatal(err)
		}
	}
	m, ok := e.Index().Match(&router.Request{Host: strings.Repeat("a.", 50_000) + "a", Path: strings.Repeat("/a", 500_000) + "b"})
	if !ok || *m.Value != 5 {
		t.Errorf("Match = %v, %v", m.Value, ok)
	}
}
