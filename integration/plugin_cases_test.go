package integration

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"text/template"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/catalog"
	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// TestPluginCases plays testdata/plugins/*.txt: what each plugin does, over HTTP
// and through the binary, for people who know Kong and no Go. Such a file has
// cases, and in front of them what is common to all:
//
//	admin POST /consumers {"username":"anna"}    is told to the Admin API
//	# the name of a case
//	plugin cors {"max_age":5}                    is put on the route /, until the case is over
//	route {"paths":["~/(?<id>\\d+)"]}            is the route for this case
//	> GET /a?b=c                                 what the client sends
//	> Name: value
//	> body text
//	>> GET /a?b=c                                what the service gets of it
//	>> Name: value, and another value
//	>> no Name
//	>> body text
//	>> nothing                                   it is not asked
//	<< 201                                       what it answers; by default 200 with the body ok
//	<< Name: value
//	<< body text
//	< 201                                        what the client gets
//	< Name: value
//	< Name ~ regular expression
//	< no Name
//	< body text                                  all of it
//	< has text                                   somewhere in it
//	< message text                               of Kong's error
//	log text                                     an entry that has the text is logged, to {{dir}}/log or {{receiver}}
//	metric text                                  a line of /metrics that begins so
//
// Files are templates: {{basic "user:password"}}, {{date}}, {{sign "secret" "text"}},
// {{token "secret" "iss" "k" "exp" 60}}, where numbers are seconds from now.
func TestPluginCases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/plugins/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	played := map[string]bool{}
	s := newStage(t)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		played[name] = true
		t.Run(name, func(t *testing.T) {
			s.t, s.process.t = t, t
			s.play(file)
		})
	}
	s.t, s.process.t = t, t
	for _, name := range catalog.Of().Plugins() {
		if !strings.Contains(name, ".") && !played[name] {
			t.Errorf("there is no testdata/plugins/%s.txt", name)
		}
	}
}

// A stage is a gateway between a client and a service.
type stage struct {
	*process
	t       *testing.T
	receive string // the URL of the server that takes entries

	mu     sync.Mutex
	got    *received // protected by mu; what the service got last
	answer []string  // protected by mu; what it is to answer
	logged string    // protected by mu; entries that the server got
}

type received struct {
	*http.Request
	body string
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t}
	behind := upstream(t, s.service)
	s.receive = upstream(t, func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.logged += string(b) + "\n"
	}).URL
	s.process = newHome(t, usual).start()
	s.process.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	return s
}

func (s *stage) service(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = &received{r, string(b)}
	status, body := http.StatusOK, "ok"
	for _, line := range s.answer {
		if text, is := strings.CutPrefix(line, "body "); is {
			body = text
		} else if name, value, is := strings.Cut(line, ": "); is {
			w.Header().Add(name, value)
		} else if _, err := fmt.Sscan(line, &status); err != nil {
			s.t.Errorf("what does %q mean?", line)
		}
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// play plays one file.
func (s *stage) play(file string) {
	text := s.filled(file)
	common, cases, _ := strings.Cut(text, "\n# ")
	for line := range strings.Lines(common) {
		s.direct(strings.TrimSpace(line))
	}
	for one := range strings.SplitSeq(cases, "\n# ") {
		name, lines, _ := strings.Cut(one, "\n")
		whole := s.t
		whole.Run(name, func(t *testing.T) {
			defer func() { s.t, s.process.t = whole, whole }()
			s.t, s.process.t = t, t
			s.act(lines)
		})
	}
	s.clear("consumers")
}

// filled is the file with what its templates stand for.
func (s *stage) filled(file string) string {
	now := time.Now()
	date := now.UTC().Format(http.TimeFormat)
	t, err := template.New(filepath.Base(file)).Funcs(template.FuncMap{
		"date":     func() string { return date },
		"dir":      func() string { return s.dir },
		"receiver": func() string { return s.receive },
		"basic":    func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) },
		"token": func(secret string, claims ...any) string {
			o := map[string]any{}
			for i := 0; i+1 < len(claims); i += 2 {
				name, value := claims[i].(string), claims[i+1]
				if seconds, is := value.(int); is {
					value = now.Unix() + int64(seconds)
				}
				o[name] = value
			}
			b, _ := json.Marshal(o)
			return strings.TrimPrefix(webToken(secret, string(b)), "Bearer ")
		},
		"sign": func(secret, text string) string {
			mac := hmac.New(sha256.New, []byte(secret))
			mac.Write([]byte(text))
			return base64.StdEncoding.EncodeToString(mac.Sum(nil))
		},
	}).ParseFiles(file)
	if err != nil {
		s.t.Fatal(err)
	}
	var out strings.Builder
	if err := t.Execute(&out, nil); err != nil {
		s.t.Fatal(err)
	}
	return "\n" + out.String()
}

// clear deletes all rows of a table.
func (s *stage) clear(table string) {
	var rows struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(s.admin("GET", "/"+table+"?size=1000", "", 200).body), &rows); err != nil {
		s.t.Fatal(err)
	}
	for _, row := range rows.Data {
		s.admin("DELETE", "/"+table+"/"+row.ID, "", 204)
	}
}

// direct does what a line says that is not about a request.
func (s *stage) direct(line string) {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "":
	case "plugin":
		name, config, _ := strings.Cut(rest, " ")
		if config == "" {
			config = "{}"
		}
		s.admin("POST", "/routes/r/plugins", `{"name":"`+name+`","config":`+config+`}`, 201)
	case "route":
		s.admin("PATCH", "/routes/r", rest, 200)
	case "admin":
		method, rest, _ := strings.Cut(rest, " ")
		path, body, _ := strings.Cut(rest, " ")
		status := map[string]int{"POST": 201, "PUT": 200, "PATCH": 200, "DELETE": 204}[method]
		s.admin(method, path, body, status)
	case "log":
		patient.Until(s.t, "an entry has "+rest, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			written, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return strings.Contains(s.logged+string(written), rest)
		})
	case "metric":
		patient.Until(s.t, "a metric "+rest, func() bool {
			return strings.Contains(do(s.t, "GET", "http://"+s.addr("STATUS")+"/metrics", "").body, "\n"+rest)
		})
	default:
		s.t.Fatalf("what does %q mean?", line)
	}
}

// act plays one case: an exchange for each line that begins a request.
func (s *stage) act(text string) {
	s.clear("plugins")
	s.admin("PUT", "/services/s/routes/r", `{"paths":["/"]}`, 200)
	var exchange [][2]string // mark and text
	finish := func() {
		if len(exchange) > 0 {
			s.exchange(exchange)
		}
		exchange = nil
	}
	begin := regexp.MustCompile(`^[A-Z]+ /`)
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		mark, rest, _ := strings.Cut(line, " ")
		switch mark {
		case ">", ">>", "<<", "<":
			if mark == ">" && begin.MatchString(rest) {
				finish()
			}
			exchange = append(exchange, [2]string{mark, rest})
		default:
			finish()
			s.direct(line)
		}
	}
	finish()
}

// exchange sends a request and looks at what became of it.
func (s *stage) exchange(lines [][2]string) {
	s.mu.Lock()
	s.got, s.answer = nil, nil
	for _, l := range lines {
		if l[0] == "<<" {
			s.answer = append(s.answer, l[1])
		}
	}
	s.mu.Unlock()
	resp, body := s.send(lines)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lines {
		wrong := ""
		switch l[0] {
		case "<":
			wrong = judge(l[1], fmt.Sprint(resp.StatusCode), resp.Header, body)
		case ">>":
			switch {
			case l[1] == "nothing":
				if s.got != nil {
					wrong = "it was asked"
				}
			case s.got == nil:
				wrong = "it was not asked"
			default:
				h := s.got.Header.Clone()
				h.Set("Host", s.got.Host)
				wrong = judge(l[1], s.got.Method+" "+s.got.RequestURI, h, s.got.body)
			}
		}
		if wrong != "" {
			s.t.Errorf("%s\n%s %s: %s", lines[0][1], l[0], l[1], wrong)
		}
	}
}

var looksAt = regexp.MustCompile(`^([A-Za-z0-9_-]+)(: | ~ )(.*)$`)

// judge answers what is wrong about a message, or "".
func judge(want, first string, h http.Header, body string) string {
	word, rest, _ := strings.Cut(want, " ")
	differs := func(got string, same bool) string {
		if same {
			return ""
		}
		return fmt.Sprintf("got %q", got)
	}
	if m := looksAt.FindStringSubmatch(want); m != nil {
		got := strings.Join(h.Values(m[1]), ", ")
		if m[2] == ": " {
			return differs(got, got == m[3])
		}
		return differs(got, regexp.MustCompile("^(?:"+m[3]+")$").MatchString(got))
	}
	switch word {
	case "no":
		return differs(strings.Join(h.Values(rest), ", "), len(h.Values(rest)) == 0)
	case "body":
		return differs(body, body == rest)
	case "has":
		return differs(body, strings.Contains(body, rest))
	case "message":
		var o struct{ Message string }
		_ = json.Unmarshal([]byte(body), &o)
		return differs(body, o.Message == rest)
	}
	return differs(first, first == want)
}

// send sends the request as it is written.
func (s *stage) send(lines [][2]string) (*http.Response, string) {
	var head strings.Builder
	body, host, chunked := "", "gateway.test", false
	for i, l := range lines {
		if l[0] != ">" {
			continue
		}
		switch text, is := strings.CutPrefix(l[1], "body "); {
		case i == 0:
			head.WriteString(l[1] + " HTTP/1.1\r\n")
		case is:
			body = strings.NewReplacer(`\r`, "\r", `\n`, "\n").Replace(text)
		case strings.HasPrefix(l[1], "Host: "):
			host = l[1][6:]
		default:
			chunked = chunked || l[1] == "Transfer-Encoding: chunked"
			head.WriteString(l[1] + "\r\n")
		}
	}
	switch {
	case chunked:
		body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
	case body != "":
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(body))
	}
	fmt.Fprintf(&head, "Host: %s\r\nConnection: close\r\n\r\n", host)
	conn, err := net.Dial("tcp", s.addr("PROXY"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, head.String()+body); err != nil {
		s.t.Fatal(err)
	}
	method, _, _ := strings.Cut(lines[0][1], " ")
	r := bufio.NewReader(conn)
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			s.t.Fatalf("%s: %v", lines[0][1], err)
		}
		if resp.StatusCode == http.StatusContinue {
			continue
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			s.t.Fatalf("%s: %v", lines[0][1], err)
		}
		return resp, string(b)
	}
}
