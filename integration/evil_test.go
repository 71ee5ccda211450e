package integration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestSmuggling_answers has an upstream answer what clients, or the gateway
// itself, might take for something else. The client gets an answer that can be
// read in one way only, or a connection that ends; the next clients get
// answers of their own, although they may be on the same connection to the
// upstream.
func TestSmuggling_answers(t *testing.T) {
	t.Parallel()
	cases := payloads(t, "answers.txt")
	p := newHome(t, usual).start()
	p.admin("POST", "/services", `{"name":"evil","retries":0,"read_timeout":2000,"url":"http://`+serveEvil(t, cases)+`"}`, 201)
	p.admin("POST", "/services/evil/routes", `{"paths":["/"],"strip_path":false}`, 201)

	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", p.addr("PROXY"))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			fmt.Fprintf(conn, "%s /evil/%d HTTP/1.1\r\nHost: a.test\r\n\r\n", c.method, i)

			in := bufio.NewReader(conn)
			var statuses []string
			for final := false; !final; {
				m, err := readStrict(in, true, c.method)
				if errors.Is(err, errAmbiguous) {
					t.Fatalf("the answer: %v", err)
				}
				if m.start == "" {
					t.Fatalf("no answer: %v", err)
				}
				status := strings.Fields(m.start)[1]
				statuses = append(statuses, status)
				final = status[0] != '1' || status == "101"
				if strings.Contains(m.body, "evil") && m.get("Content-Length") != nil {
					t.Errorf("the client got the body %q", m.body)
				}
				for _, name := range []string{"X-Secret", "Set-Cookie"} {
					if got := m.get(name); got != nil {
						t.Errorf("the client got %s: %s", name, got)
					}
				}
				if final && !m.whole {
					// the client knows that this is not all
					if _, err := in.ReadByte(); err == nil {
						t.Error("the connection goes on behind a body that was cut off")
					}
				}
			}
			if !slices.ContainsFunc(c.answers, func(want []string) bool { return slices.Equal(want, statuses) }) {
				t.Errorf("the answers are %v, want %v", statuses, c.answers)
			}

			// the same client
			fmt.Fprintf(conn, "GET /good/%d/a HTTP/1.1\r\nHost: a.test\r\n\r\n", i)
			if m, err := readStrict(in, true, "GET"); err == nil && m.body != fmt.Sprintf("/good/%d/a", i) {
				t.Errorf("the same client then got %q %q", m.start, m.body)
			} else if errors.Is(err, errAmbiguous) {
				t.Errorf("the same client then got %v", err)
			}
			// and others
			for _, next := range []string{"b", "c"} {
				path := fmt.Sprintf("/good/%d/%s", i, next)
				if a := p.get(path, 200, "Host", "a.test"); a.body != path {
					t.Errorf("the next client asked for %s and got %q", path, a.body)
				}
			}
		})
	}
}

// serveEvil answers /evil/<n> with the case n, and other paths with the path.
func serveEvil(t *testing.T, cases []payload) string {
	t.Helper()
	return serveRaw(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		for {
			m, err := readStrict(in, false, "")
			if err != nil {
				return
			}
			path := strings.Fields(m.start)[1]
			var n int
			if _, err := fmt.Sscanf(path, "/evil/%d", &n); err != nil {
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(path), path)
				continue
			}
			io.WriteString(conn, cases[n].bytes)
			if cases[n].end {
				return
			}
		}
	})
}
