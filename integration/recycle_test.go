package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// TestPlugins_requestsDoNotMix sends many requests at a time on kept connections
// through plugins, on which memory is used again, and looks whether each gets what
// is its own.
func TestPlugins_requestsDoNotMix(t *testing.T) {
	t.Parallel()
	behind := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Echo"] = r.Header["X-Own"]
		w.Header().Set("X-Seen", r.Header.Get("X-Id")+" "+r.Header.Get("X-Added")+" "+r.Header.Get("X-Consumer-Username"))
		io.WriteString(w, r.URL.RequestURI())
	})
	entries := filepath.Join(t.TempDir(), "entries")
	p := newHome(t, usual).start()
	p.admin("POST", "/services", `{"name":"s","url":"`+behind.URL+`"}`, 201)
	p.admin("POST", "/services/s/routes", `{"name":"a","paths":["/a"],"strip_path":false}`, 201)
	p.admin("POST", "/consumers", `{"username":"anna"}`, 201)
	p.admin("POST", "/consumers/anna/key-auth", `{"key":"k"}`, 201)
	for _, plugin := range []string{
		`{"name":"key-auth","config":{"hide_credentials":true}}`,
		`{"name":"correlation-id","config":{"header_name":"X-Id","echo_downstream":true}}`,
		`{"name":"rate-limiting","config":{"year":1000000,"limit_by":"header","header_name":"X-Client"}}`,
		`{"name":"request-transformer","config":{"add":{"headers":["X-Added:yes"]}}}`,
		`{"name":"prometheus","config":{"status_code_metrics":true,"per_consumer":true,"bandwidth_metrics":true}}`,
		`{"name":"file-log","config":{"path":"` + entries + `"}}`,
	} {
		p.admin("POST", "/plugins", plugin, 201)
	}
	var clients sync.WaitGroup
	for c := range 8 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: patience}
			defer client.CloseIdleConnections()
			for i := range 100 {
				own := fmt.Sprintf("client %d, request %d", c, i)
				uri := fmt.Sprintf("/a/%d/%d?q=%d-%d", c, i, i, c)
				r, err := http.NewRequest("GET", "http://"+p.addr("PROXY")+uri, nil)
				if err != nil {
					t.Error(err)
					return
				}
				r.Header = http.Header{"X-Own": {own, own + "!"}, "Apikey": {"k"}, "X-Client": {fmt.Sprint(c)}, "X-Id": {own}}
				if i%3 == 0 {
					r.Header["X-Other"] = []string{own}
				}
				resp, err := client.Do(r)
				if err != nil {
					t.Errorf("%s: %v", own, err)
					return
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				got := fmt.Sprint(resp.StatusCode, " ", string(body), " ", resp.Header["X-Echo"], " ", resp.Header["X-Seen"], " ",
					resp.Header["X-Id"], " ", resp.Header["X-Ratelimit-Remaining-Year"], " ", err)
				want := fmt.Sprint(200, " ", uri, " ", []string{own, own + "!"}, " ", []string{own + " yes anna"}, " ",
					[]string{own}, " ", []string{fmt.Sprint(1000000 - 1 - i)}, " ", nil)
				if got != want {
					t.Errorf("got  %s\nwant %s", got, want)
				}
			}
		})
	}
	clients.Wait()
	p.stop()
	text, err := os.ReadFile(entries)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 800 {
		t.Errorf("%d entries", len(lines))
	}
	for _, line := range lines {
		var e struct {
			Request struct {
				URI     string         `json:"uri"`
				Headers map[string]any `json:"headers"`
			} `json:"request"`
			Response struct {
				Headers map[string]any `json:"headers"`
			} `json:"response"`
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		var c, i int
		fmt.Sscanf(e.Request.URI, "/a/%d/%d", &c, &i)
		own := fmt.Sprintf("client %d, request %d", c, i)
		if e.Request.Headers["x-id"] != own || e.Response.Headers["x-id"] != own ||
			!strings.Contains(line, `"x-own":["`+own+`","`+own+`!"]`) || (e.Request.Headers["x-other"] == own) != (i%3 == 0) {
			t.Errorf("the entry of %s: %s", own, line)
		}
	}
}
