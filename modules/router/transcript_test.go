package router_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

// TestMatch_transcripts plays the files in testdata; see testdata/README.txt
// for how to read and write them.
func TestMatch_transcripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		if name == "README" || name == "upstream_path" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			for _, c := range readTranscript(string(text)) {
				cases++
				t.Run(c.name, c.play)
			}
		})
	}
	if cases < 60 {
		t.Errorf("%d cases were played, there are more", cases)
	}
}

type transcriptCase struct {
	name  string
	lines []transcriptLine
}

type transcriptLine struct {
	number int
	text   string
}

func readTranscript(text string) []transcriptCase {
	var cases []transcriptCase
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "case "); ok {
			cases = append(cases, transcriptCase{name: name})
		} else if line != "" && line[0] != '#' {
			c := &cases[len(cases)-1]
			c.lines = append(c.lines, transcriptLine{number, line})
		}
	}
	return cases
}

func (c transcriptCase) play(t *testing.T) {
	edit := router.New[string]().Edit()
	routes := map[string]*entity.Route{}
	for _, line := range c.lines {
		request, want, isRequest := strings.Cut(line.text, " => ")
		words := splitWords(request)
		switch {
		case isRequest:
			if len(words) < 2 {
				t.Fatalf("line %d: expected a method and a URL before =>", line.number)
			}
			checkOutcome(t, line, edit.Index(), readRequest(t, line, words), splitWords(want))
		case words[0] == "route" || words[0] == "change":
			if old := routes[words[1]]; old != nil {
				edit.Remove(old)
			}
			r := readRoute(t, line, words)
			if err := edit.Add(r, words[1]); err != nil {
				t.Fatalf("line %d: %v", line.number, err)
			}
			routes[words[1]] = r
		case words[0] == "delete":
			edit.Remove(routes[words[1]])
			delete(routes, words[1])
		default:
			t.Fatalf("line %d: %q is not understood", line.number, line.text)
		}
	}
}

func checkOutcome(t *testing.T, line transcriptLine, x *router.Index[string], r *router.Request, want []string) {
	t.Helper()
	m, ok := x.Match(r)
	got := []string{"none"}
	if ok {
		got = []string{*m.Value}
	}
	for _, w := range want[1:] {
		switch name, _, _ := strings.Cut(w, "="); {
		case name == "prefix":
			got = append(got, "prefix="+m.Prefix)
		case strings.HasPrefix(name, "capture:"):
			key := name[len("capture:"):]
			text, found := m.Captures.Named(key)
			if i, err := strconv.Atoi(key); err == nil {
				text, found = m.Captures.Group(i)
			}
			if !found {
				text = "(absent)"
			}
			got = append(got, name+"="+text)
		default:
			t.Fatalf("line %d: %q is not understood", line.number, w)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("line %d: %s\ngot  %s", line.number, line.text, strings.Join(got, " "))
	}
}

func readRoute(t *testing.T, line transcriptLine, words []string) *entity.Route {
	n, err := strconv.Atoi(words[1])
	if err != nil {
		t.Fatalf("line %d: routes have numbers", line.number)
	}
	r := &entity.Route{ID: routeID(n), Protocols: []string{"http", "https"}}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		key, name, _ := strings.Cut(key, ":")
		switch key {
		case "host":
			r.Hosts = append(r.Hosts, value)
		case "path":
			r.Paths = append(r.Paths, value)
		case "method":
			r.Methods = append(r.Methods, value)
		case "header":
			if r.Headers == nil {
				r.Headers = map[string][]string{}
			}
			r.Headers[name] = append(r.Headers[name], value)
		case "sni":
			r.SNIs = append(r.SNIs, value)
		case "source":
			r.Sources = append(r.Sources, readEndpoint(t, line, value))
		case "destination":
			r.Destinations = append(r.Destinations, readEndpoint(t, line, value))
		case "protocol":
			r.Protocols = []string{value}
		case "regex_priority":
			r.RegexPriority, _ = strconv.Atoi(value)
		default:
			t.Fatalf("line %d: %q is not understood", line.number, w)
		}
	}
	return r
}

func routeID(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("e8fb37f1-102d-461e-9c51-6608a6bb%04d", 8100+n))
}

func readEndpoint(t *testing.T, line transcriptLine, s string) (e entity.Endpoint) {
	ip, port, found := strings.Cut(s, "|")
	e.IP = ip
	if found {
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatalf("line %d: %q is not an address, |port or address|port", line.number, s)
		}
		e.Port = n
	}
	return e
}

func readRequest(t *testing.T, line transcriptLine, words []string) *router.Request {
	scheme, rest, found := strings.Cut(words[1], "://")
	if !found || scheme != "http" && scheme != "https" {
		t.Fatalf("line %d: expected http:// or https://", line.number)
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		t.Fatalf("line %d: expected a path", line.number)
	}
	r := &router.Request{
		Method:      words[0],
		Host:        rest[:slash],
		Path:        entity.NormalizePath(rest[slash:]),
		Header:      http.Header{},
		TLS:         scheme == "https",
		Source:      netip.MustParseAddrPort("192.0.2.1:50000"),
		Destination: netip.MustParseAddrPort("192.0.2.2:80"),
	}
	if r.TLS {
		r.Destination = netip.MustParseAddrPort("192.0.2.2:443")
	}
	for _, w := range words[2:] {
		key, value, _ := strings.Cut(w, "=")
		key, name, _ := strings.Cut(key, ":")
		var err error
		switch key {
		case "header":
			r.Header.Add(name, value)
		case "sni":
			r.SNI = value
		case "from":
			r.Source, err = netip.ParseAddrPort(value)
		case "to":
			r.Destination, err = netip.ParseAddrPort(value)
		default:
			t.Fatalf("line %d: %q is not understood", line.number, w)
		}
		if err != nil {
			t.Fatalf("line %d: %v", line.number, err)
		}
	}
	return r
}

// splitWords splits at blanks, except between quotes, which are dropped.
func splitWords(s string) []string {
	var words []string
	quoted := false
	for part := range strings.SplitSeq(s, `"`) {
		switch {
		case quoted && len(words) > 0:
			words[len(words)-1] += part
		case len(words) > 0 && part != "" && part[0] != ' ':
			more := strings.Fields(part)
			words[len(words)-1] += more[0]
			words = append(words, more[1:]...)
		default:
			words = append(words, strings.Fields(part)...)
		}
		quoted = !quoted
	}
	return words
}
