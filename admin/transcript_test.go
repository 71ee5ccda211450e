package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// An exchange is one request of a transcript with the answer that it wants.
//
// A transcript is a text file of paragraphs:
//
//	# What the next request shows.
//	POST /services {"name": "a", "url": "http://a.test"}
//	Header-Of: the request
//	=> 201 {"id": "$service", "name": "a", "tags": null}
//	Header-Of: the answer
//
// The body follows the path: a JSON object, or a word that says what it is
// (form:a=b&c=d, multipart:a=b&c=d, yaml:text, text/plain:text). Lines that
// begin with blanks go on with the one before.
//
// The answer's body is JSON. Fields that it does not name may be there, too,
// except in an object with the key "=", which must be complete. Lists must be
// complete. "$any" stands for anything, "$none" for the absence of a field,
// "$number" and "$uuid" for values of that kind, "$match <regexp>" for a string
// like that, and "$name" for a value that later requests write as $(name).
// "empty" means that there is no body, "text:" and "contains:" that it is not
// looked at as JSON.
type exchange struct {
	line               int
	method, path, body string
	header             http.Header
	status             string
	want               string
	wantHeader         http.Header
	comment            string
}

var requestLine = regexp.MustCompile(`^[A-Z]+ /`)

func readTranscript(t *testing.T, name string) []exchange {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var list []exchange
	var comment string
	var at *string // what an indented line goes on with
	header := (*http.Header)(nil)
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.TrimSpace(line) == "":
			header = nil
		case strings.HasPrefix(line, "#"):
			comment = strings.TrimSpace(line[1:])
		case line[0] == ' ' || line[0] == '\t':
			*at += "\n" + line
		case strings.HasPrefix(line, "=> "):
			e := &list[len(list)-1]
			e.status, e.want, _ = strings.Cut(line[3:], " ")
			at, header = &e.want, &e.wantHeader
		case !requestLine.MatchString(line):
			field, value, ok := strings.Cut(line, ":")
			if !ok || header == nil {
				t.Fatalf("%s:%d: neither a request nor a header: %s", name, i+1, line)
			}
			if *header == nil {
				*header = http.Header{}
			}
			header.Add(field, strings.TrimSpace(value))
		default:
			e := exchange{line: i + 1, comment: comment}
			e.method, e.path, _ = strings.Cut(line, " ")
			e.path, e.body, _ = strings.Cut(e.path, " ")
			list = append(list, e)
			e1 := &list[len(list)-1]
			at, header = &e1.body, &e1.header
		}
	}
	return list
}

// A session runs a transcript against a server.
type session struct {
	base string
	vars map[string]string
}

var variable = regexp.MustCompile(`\$\(([a-z0-9_]+)\)`)

// fill puts the values of variables in the place of $(name).
func (s *session) fill(t *testing.T, text string, quote func(string) string) string {
	return variable.ReplaceAllStringFunc(text, func(m string) string {
		value, ok := s.vars[m[2:len(m)-1]]
		if !ok {
			t.Errorf("no value for %s", m)
		}
		return quote(value)
	})
}

func plain(s string) string { return s }

// inJSON writes a value for the inside of a JSON string.
func inJSON(s string) string {
	b, _ := json.Marshal(s)
	return string(b[1 : len(b)-1])
}

func (s *session) request(t *testing.T, e exchange) *http.Request {
	t.Helper()
	contentType, body := "", ""
	kind, rest, _ := strings.Cut(e.body, ":")
	switch {
	case e.body == "":
	case e.body[0] == '{' || e.body[0] == '[' || e.body[0] == '"':
		contentType, body = "application/json", s.fill(t, e.body, inJSON)
	case kind == "json":
		contentType, body = "application/json", s.fill(t, rest, inJSON)
	case kind == "form":
		contentType, body = "application/x-www-form-urlencoded", s.fill(t, rest, escape)
	case kind == "multipart":
		contentType, body = multipartBody(t, s.fill(t, rest, plain))
	case kind == "yaml":
		contentType, body = "text/yaml", s.fill(t, strings.TrimPrefix(outdent(rest), "\n"), plain)
	default:
		contentType, body = kind, s.fill(t, rest, plain)
	}
	req, err := http.NewRequest(e.method, s.base+s.fill(t, e.path, escape), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for name, values := range e.header {
		if name == "Host" {
			req.Host = values[0]
			continue
		}
		req.Header[name] = values
	}
	return req
}

// outdent takes the blanks away that make lines of a transcript go on.
func outdent(s string) string { return strings.ReplaceAll(s, "\n  ", "\n") }

func multipartBody(t *testing.T, fields string) (contentType, body string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for field := range strings.SplitSeq(fields, "&") {
		name, value, _ := strings.Cut(field, "=")
		if err := w.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	return w.FormDataContentType(), b.String()
}

var client = &http.Client{
	Transport: &http.Transport{DisableCompression: true},
	Timeout:   30 * time.Second,
}

func (s *session) run(t *testing.T, e exchange) {
	req := s.request(t, e)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s %s\n%s\n=> %d %s\n%s", e.method, e.path, e.body, resp.StatusCode, body, fmt.Sprintf(format, args...))
	}
	if fmt.Sprint(resp.StatusCode) != e.status {
		fail("want status %s", e.status)
		return
	}
	for name := range e.wantHeader {
		if got, want := resp.Header.Get(name), e.wantHeader.Get(name); got != want && !(want == "number" && isNumber(got)) {
			fail("header %s is %q, want %q", name, got, want)
		}
	}
	want := s.fill(t, e.want, inJSON)
	switch {
	case want == "":
	case want == "empty":
		if len(body) > 0 {
			fail("want no body")
		}
	case strings.HasPrefix(want, "text:"):
		if string(body) != strings.ReplaceAll(want[5:], `\n`, "\n") {
			fail("want the text %q", want[5:])
		}
	case strings.HasPrefix(want, "contains:"):
		for part := range strings.SplitSeq(want[9:], "||") {
			if !strings.Contains(string(body), strings.TrimSpace(part)) {
				fail("want a text with %q", strings.TrimSpace(part))
			}
		}
	default:
		var wanted, got any
		if err := json.Unmarshal([]byte(want), &wanted); err != nil {
			t.Fatalf("line %d: the wanted body: %v\n%s", e.line, err, want)
		}
		if err := json.Unmarshal(body, &got); err != nil {
			fail("the body is not JSON: %v", err)
			return
		}
		if contentType := resp.Header.Get("Content-Type"); contentType != "application/json; charset=utf-8" {
			fail("Content-Type is %q", contentType)
		}
		if diff := s.compare("", wanted, got); diff != "" {
			fail("%s", diff)
		}
	}
}

// compare answers what is not as wanted, or "".
func (s *session) compare(at string, want, got any) string {
	switch want := want.(type) {
	case string:
		if strings.HasPrefix(want, "$") {
			return s.pattern(at, want, got)
		}
	case map[string]any:
		object, is := got.(map[string]any)
		if !is {
			return fmt.Sprintf("%s: want an object", at)
		}
		for name, w := range want {
			if name == "=" {
				continue
			}
			g, present := object[name]
			if w == "$none" {
				if present {
					return fmt.Sprintf("%s.%s: want it to be absent", at, name)
				}
				continue
			}
			if !present {
				return fmt.Sprintf("%s.%s: absent", at, name)
			}
			if diff := s.compare(at+"."+name, w, g); diff != "" {
				return diff
			}
		}
		if _, complete := want["="]; complete {
			for name := range object {
				if _, named := want[name]; !named {
					return fmt.Sprintf("%s.%s: want no such field", at, name)
				}
			}
		}
		return ""
	case []any:
		list, is := got.([]any)
		if !is || len(list) != len(want) {
			return fmt.Sprintf("%s: want a list of %d", at, len(want))
		}
		for i := range want {
			if diff := s.compare(fmt.Sprintf("%s[%d]", at, i), want[i], list[i]); diff != "" {
				return diff
			}
		}
		return ""
	}
	if want != got {
		return fmt.Sprintf("%s: got %v, want %v", at, got, want)
	}
	return ""
}

// pattern compares with what begins with a dollar sign.
func (s *session) pattern(at, want string, got any) string {
	text, isText := got.(string)
	kind, argument, _ := strings.Cut(want[1:], " ")
	switch kind {
	case "any":
		return ""
	case "uuid":
		if _, err := uuid.Parse(text); err != nil {
			return fmt.Sprintf("%s: got %v, want a UUID", at, got)
		}
	case "number":
		if _, is := got.(float64); !is {
			return fmt.Sprintf("%s: got %v, want a number", at, got)
		}
	case "match":
		if !isText || !regexp.MustCompile(argument).MatchString(text) {
			return fmt.Sprintf("%s: got %v, want a match of %s", at, got, argument)
		}
	default:
		if isText {
			s.vars[kind] = text
		} else {
			s.vars[kind] = fmt.Sprint(got)
		}
	}
	return ""
}

// runTranscripts runs the files that the pattern names, each against a world
// of its own.
func runTranscripts(t *testing.T, pattern string, open func(t *testing.T) World) {
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %s (%v)", pattern, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			s := &session{base: serveAdmin(t, open(t)), vars: certificates(t)}
			for _, e := range readTranscript(t, file) {
				t.Run(fmt.Sprintf("line %d %s", e.line, e.comment), func(t *testing.T) { s.run(t, e) })
			}
		})
	}
}

func isNumber(s string) bool {
	_, err := strconv.ParseUint(s, 10, 64)
	return err == nil
}
