package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/ports"
)

// A payload is a case of testdata/smuggling; the files say how to read them.
type payload struct {
	name     string
	answers  [][]string // statuses, as alternatives
	upstream []string   // nil: whatever was answered
	host     string
	method   string
	end      bool // the upstream closes
	bytes    string
}

var repeated = regexp.MustCompile(`(?s)\{(.+?)\*(\d+)\}`)

// payloads reads a file of testdata/smuggling.
func payloads(t testing.TB, file string) []payload {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "smuggling", file))
	if err != nil {
		t.Fatal(err)
	}
	var all []payload
	for _, part := range strings.Split("\n"+string(text), "\n=== ")[1:] {
		head, body, ok := strings.Cut(part, "\n---\n")
		if !ok {
			t.Fatalf("%s: no --- in %q", file, part)
		}
		lines := strings.Split(head, "\n")
		name, _, _ := strings.Cut(lines[0], " | ")
		p := payload{name: strings.TrimSpace(name), method: "GET"}
		for _, line := range lines[1:] {
			key, value, _ := strings.Cut(line, ": ")
			switch key {
			case "answers":
				for alternative := range strings.SplitSeq(value, "|") {
					p.answers = append(p.answers, strings.Fields(alternative))
				}
			case "upstream":
				p.upstream = []string{}
				if value != "nothing" {
					p.upstream = strings.Split(value, ", ")
				}
			case "host":
				p.host = value
			case "method":
				p.method = value
			case "then":
				p.end = value == "end"
			default:
				t.Fatalf("%s: %s: what is %q?", file, p.name, line)
			}
		}
		body = strings.ReplaceAll(body, "\n", "")
		if p.bytes, err = strconv.Unquote(`"` + body + `"`); err != nil {
			t.Fatalf("%s: %s: %v in %q", file, p.name, err, body)
		}
		p.bytes = repeated.ReplaceAllStringFunc(p.bytes, func(s string) string {
			m := repeated.FindStringSubmatch(s)
			n, _ := strconv.Atoi(m[2])
			return strings.Repeat(m[1], n)
		})
		all = append(all, p)
	}
	return all
}

// answered is what came back on a connection: the answers that can be read,
// and whether the gateway then closed it.
type answered struct {
	messages []message
	closed   bool
	err      error // an answer that cannot be read in one way only
}

func (a answered) statuses() []string {
	var all []string
	for _, m := range a.messages {
		all = append(all, strings.Fields(m.start)[1])
	}
	return all
}

// attack writes the payload on a connection of its own and then, if the
// gateway still listens, an innocent request. It reads until the answer to
// the latter, or to the end.
func attack(t *testing.T, addr string, p payload, innocent string) answered {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))

	// the gateway may have closed before all is written
	wrote := make(chan struct{})
	go func() {
		defer close(wrote)
		io.WriteString(conn, p.bytes+"GET "+innocent+" HTTP/1.1\r\nHost: a.test\r\n\r\n")
	}()
	defer func() { conn.Close(); <-wrote }()

	var a answered
	in := bufio.NewReader(conn)
	for n := 0; ; n++ {
		method := ""
		if strings.HasPrefix(p.bytes, "HEAD ") && n == 0 {
			method = "HEAD"
		}
		m, err := readStrict(in, true, method)
		switch {
		case errors.Is(err, errAmbiguous):
			a.err = err
			return a
		case closed(err):
			a.closed = true
			return a
		case err != nil:
			a.err = fmt.Errorf("neither an answer nor an end: %w", err)
			return a
		}
		if strings.Contains(m.body, "GET "+innocent+" ") || strings.Contains(strings.Join(m.get("X-Seen"), ""), innocent) {
			return a // the connection is in step
		}
		a.messages = append(a.messages, m)
	}
}

// TestSmuggling sends requests that parsers disagree about, to an upstream that
// writes down what arrives. It must have seen what was answered, nothing else,
// and nothing that is open to interpretation.
func TestSmuggling(t *testing.T) {
	t.Parallel()
	p := newHome(t, usual).start()
	upstream := newRecorder(t)
	p.admin("POST", "/services", `{"name":"a","url":"http://`+upstream.addr+`"}`, 201)
	p.admin("POST", "/services/a/routes", `{"paths":["/"],"strip_path":false,"preserve_host":true}`, 201)
	p.admin("POST", "/services/a/routes", `{"hosts":["a.test","b.test"],"strip_path":false,"preserve_host":true}`, 201)

	for i, c := range payloads(t, "requests.txt") {
		t.Run(c.name, func(t *testing.T) {
			got := attack(t, p.addr("PROXY"), c, fmt.Sprintf("/innocent/%d", i))
			if got.err != nil {
				t.Errorf("the answers: %v", got.err)
			}
			c.judge(t, got)

			// whoever comes next, perhaps on the same connection to the
			// upstream, gets what he asked for
			for range 2 {
				path := fmt.Sprintf("/next/%d", i)
				if a := p.get(path, 200, "Host", "a.test"); a.body != "GET "+path+" 0" {
					t.Errorf("the next client asked for %s and got %q", path, a.body)
				}
			}

			requests, complaints := upstream.take()
			for _, complaint := range complaints {
				t.Errorf("the upstream complains: %s", complaint)
			}
			forwarded, answers := []string{}, []string{}
			for _, m := range requests {
				if strings.Contains(m.start, "/innocent/") || strings.Contains(m.start, "/next/") {
					continue
				}
				forwarded = append(forwarded, seen(m))
				if host := m.get("Host")[0]; c.host != "" && host != c.host {
					t.Errorf("the upstream was asked for the host %q, want %q", host, c.host)
				}
			}
			for _, m := range got.messages {
				if m.get("X-Record") != nil {
					answers = append(answers, m.body)
				}
			}
			if len(answers) != len(forwarded) {
				t.Errorf("the upstream saw %q, the client got answers to %q", forwarded, answers)
			} else {
				for i := range answers {
					if answers[i] != forwarded[i] && answers[i] != "" { // an answer to HEAD says nothing
						t.Errorf("the upstream saw %q, the client got the answer to %q", forwarded[i], answers[i])
					}
				}
			}
			if c.upstream != nil && !slices.Equal(forwarded, c.upstream) {
				t.Errorf("the upstream saw %q, want %q", forwarded, c.upstream)
			}
		})
	}
}

// TestSmuggling_nginx sends the same to an nginx that buffers requests before it
// passes them on, and logs them. What it saw must be what was answered.
func TestSmuggling_nginx(t *testing.T) {
	t.Parallel()
	front, back := ports.Free(t), ports.Free(t)
	dir := startNginx(t, fmt.Sprintf("127.0.0.1:%d", front), fmt.Sprintf(`
	log_format seen '$request_method $request_uri $status';
	server {
		listen 127.0.0.1:%[1]d;
		access_log {dir}/seen.log seen;
		large_client_header_buffers 8 64k;
		location / {
			proxy_pass http://127.0.0.1:%[2]d;
			proxy_http_version 1.1;
			add_header X-Seen "$request_method $request_uri" always;
		}
	}
	server {
		listen 127.0.0.1:%[2]d;
		access_log off;
		large_client_header_buffers 8 64k;
		location / { return 200 "$request_method $request_uri 0"; }
	}`, front, back))
	p := newHome(t, usual).start()
	p.admin("POST", "/services", fmt.Sprintf(`{"name":"a","url":"http://127.0.0.1:%d"}`, front), 201)
	p.admin("POST", "/services/a/routes", `{"paths":["/"],"strip_path":false,"preserve_host":true}`, 201)

	log, err := os.Open(filepath.Join(dir, "seen.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	lines := bufio.NewReader(log)

	for i, c := range payloads(t, "requests.txt") {
		t.Run(c.name, func(t *testing.T) {
			got := attack(t, p.addr("PROXY"), c, fmt.Sprintf("/innocent/%d", i))
			if got.err != nil {
				t.Errorf("the answers: %v", got.err)
			}
			c.judge(t, got)
			path := fmt.Sprintf("/next/%d", i)
			if a := p.get(path, 200, "Host", "a.test"); a.body != "GET "+path+" 0" {
				t.Errorf("the next client asked for %s and got %q", path, a.body)
			}

			// nginx logs after it answers; the last request is the last line
			var saw []string
			for {
				line := ""
				patient.Until(t, "nginx logs the request "+path, func() bool {
					part, err := lines.ReadString('\n')
					if err != nil && err != io.EOF {
						t.Fatalf("seen.log: %v", err)
					}
					line += part
					return err == nil
				})
				if strings.HasPrefix(line, "GET "+path+" ") {
					break
				}
				if strings.HasPrefix(line, "GET /innocent/") {
					continue
				}
				// 400 and 499: the gateway gave up within a body
				request, status, _ := strings.Cut(strings.TrimSpace(line), " 2")
				if status == "00" {
					saw = append(saw, request)
				} else if !strings.HasSuffix(line, " 400\n") && !strings.HasSuffix(line, " 499\n") {
					t.Errorf("nginx logged %q", line)
				}
			}
			var answers []string
			for _, m := range got.messages {
				if seen := m.get("X-Seen"); seen != nil {
					answers = append(answers, seen[0])
				}
			}
			if !slices.Equal(saw, answers) {
				t.Errorf("nginx saw %q, the client got answers to %q", saw, answers)
			}
		})
	}
}

// judge compares the answers with what the case allows.
func (p payload) judge(t *testing.T, got answered) {
	t.Helper()
	statuses := got.statuses()
	if !slices.ContainsFunc(p.answers, func(want []string) bool { return slices.Equal(want, statuses) }) {
		t.Errorf("the answers are %v, want %v", statuses, p.answers)
	}
	if len(got.messages) == 0 {
		return
	}
	// RFC 9112, 9.6 and 6.3: who does not know where the next request begins
	// does not look for it
	last := got.messages[len(got.messages)-1]
	if status := strings.Fields(last.start)[1]; slices.Contains([]string{"400", "413", "431", "501", "505"}, status) && last.get("X-Record") == nil && !got.closed {
		t.Errorf("the connection goes on after a %s", status)
	}
}
