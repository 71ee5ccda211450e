package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestRespond_piecesArriveAsTheyAreSent(t *testing.T) {
	for _, tt := range []struct {
		name  string
		route schema.Object
		head  func(http.Header)
	}{
		{"server-sent events", nil, func(h http.Header) {
			h.Set("Content-Type", "text/event-stream")
			h.Set("Content-Length", "10")
		}},
		{"unknown length", nil, func(http.Header) {}},
		{"without buffering", schema.Object{"response_buffering": false}, func(h http.Header) { h.Set("Content-Length", "10") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			proceed := make(chan struct{})
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				tt.head(w.Header())
				control := http.NewResponseController(w)
				_ = control.Flush()
				for _, piece := range []string{"first", "again"} {
					<-proceed
					_, _ = io.WriteString(w, piece)
					_ = control.Flush()
				}
			})
			route := schema.Object{}
			for k, v := range tt.route {
				route[k] = v
			}
			g.route(to(up), route)
			resp, err := plainClient(t).Get(g.server.URL + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b := make([]byte, 5)
			for _, want := range []string{"first", "again"} {
				proceed <- struct{}{} // not before what came earlier was received
				if _, err := io.ReadFull(resp.Body, b); err != nil || string(b) != want {
					t.Fatalf("got %q, %v, want %q", b, err, want)
				}
			}
		})
	}
}

func TestRespond_brokenBodyBreaksTheConnection(t *testing.T) {
	for _, tt := range []struct{ name, response string }{
		{"content length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"},
		{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n"},
	} {
		for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
			t.Run(tt.name+" "+version, func(t *testing.T) {
				g := start(t, gateway.Settings{})
				address, _ := rude(t, func(c net.Conn) { hangUp(c); _, _ = io.WriteString(c, tt.response) })
				g.pool(schema.Object{}, address)
				client := plainClient(t)
				if version == "HTTP/2" {
					client = h2cClient(t)
				}
				resp, err := client.Get(g.server.URL + "/")
				if err != nil {
					t.Fatal("the client does not get what had come: ", err)
				}
				defer resp.Body.Close()
				wantStatus(t, resp, 200)
				if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "half" {
					t.Errorf("got %q, %v, want half of a body and an error", b, err)
				}
				if n := len(g.logged("response body of upstream broke off")); n != 1 {
					t.Errorf("got %d log lines, want 1", n)
				}
			})
		}
	}
}

func TestRespond_badResponses(t *testing.T) {
	for _, tt := range []struct{ name, response string }{
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n"},
		{"nothing", ""},
		{"head too long", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxResponseHeader) + "\r\n\r\n"},
		{"a protocol nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			address, _ := rude(t, func(c net.Conn) { hangUp(c); _, _ = io.WriteString(c, tt.response) })
			g.pool(schema.Object{"retries": int64(0)}, address)
			resp, body := g.get("/", header("Accept", "application/json"))
			wantStatus(t, resp, 502)
			if got := message(body); got != "An invalid response was received from the upstream server" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestBody_reachesTheUpstreamWhole(t *testing.T) {
	sizes := []int{1, bufferSize - 1, bufferSize, bufferSize + 1, 5 << 20}
	for _, buffering := range []bool{true, false} {
		g := start(t, gateway.Settings{})
		up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("X-Length", itoa(int(r.ContentLength)))
			_, _ = w.Write(b)
		})
		g.route(to(up), schema.Object{"request_buffering": buffering})
		for _, size := range sizes {
			sent := bytes.Repeat([]byte("x"), size)
			for _, chunked := range []bool{true, false} {
				var from io.Reader = bytes.NewReader(sent)
				length := itoa(size)
				if chunked {
					from = struct{ io.Reader }{from}
					if !buffering || size > bufferSize {
						length = "-1"
					}
				}
				resp, got := g.do("POST", "/", from)
				if got != string(sent) {
					t.Errorf("size %d, chunked %t, buffering %t: got %d bytes", size, chunked, buffering, len(got))
				}
				if l := resp.Header.Get("X-Length"); l != length {
					t.Errorf("size %d, chunked %t, buffering %t: the upstream saw Content-Length %s, want %s", size, chunked, buffering, l, length)
				}
			}
		}
	}
}

// TestBody_streamsBothWays has an upstream that answers each line of a body
// before the next one is sent.
func TestBody_streamsBothWays(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				control := http.NewResponseController(w)
				_ = control.EnableFullDuplex()
				_ = control.Flush()
				for lines := bufio.NewScanner(r.Body); lines.Scan(); {
					_, _ = io.WriteString(w, lines.Text()+"!\n")
					_ = control.Flush()
				}
			})
			g.route(to(up), schema.Object{"request_buffering": false})
			client := plainClient(t)
			if version == "HTTP/2" {
				client = h2cClient(t)
			}
			in, out := io.Pipe()
			defer out.Close()
			req, _ := http.NewRequest("POST", g.server.URL+"/", in)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			answers := bufio.NewReader(resp.Body)
			for range 3 {
				_, _ = io.WriteString(out, "ping\n")
				if got, err := answers.ReadString('\n'); got != "ping!\n" {
					t.Fatalf("got %q, %v", got, err)
				}
			}
		})
	}
}

func TestBody_brokenByTheClientIsNotTheUpstreamsFault(t *testing.T) {
	for _, tt := range []struct {
		name, request string
		status        int
	}{
		{"bad chunk, buffered", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"bad chunk, streamed", "POST /stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
			g.route(to(up), schema.Object{})
			g.route(to(up), schema.Object{"paths": []any{"/stream"}, "request_buffering": false})
			c, br := g.raw()
			_, _ = io.WriteString(c, tt.request)
			resp, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			wantStatus(t, resp, tt.status)
			if !resp.Close {
				t.Error("the connection stays open in the middle of a body")
			}
			if n := len(g.logged("upstream gave no response")); n != 0 {
				t.Errorf("logged %d failures of the upstream", n)
			}
		})
	}
}

func TestBody_slowClientGetsA408(t *testing.T) {
	for _, path := range []string{"/", "/stream"} {
		g := start(t, gateway.Settings{})
		g.engine.timeouts.Body = 1e8 // 100 ms
		up := upstream(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
		g.route(to(up), schema.Object{})
		g.route(to(up), schema.Object{"paths": []any{"/stream"}, "request_buffering": false})
		c, br := g.raw()
		_, _ = io.WriteString(c, "POST "+path+" HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		resp.Body.Close()
		wantStatus(t, resp, 408)
	}
}

func TestRespond_clientThatReceivesNothingIsCutOff(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			g := start(t, gateway.Settings{})
			g.engine.timeouts.Send = 2e8 // 200 ms
			ended := make(chan error, 1)
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(w, io.LimitReader(zeros{}, 1<<30))
				ended <- err
			})
			g.route(to(up), schema.Object{})
			client := plainClient(t)
			if version == "HTTP/2" {
				client = h2cClient(t)
			}
			resp, err := client.Get(g.server.URL + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			select {
			case err := <-ended:
				if err == nil {
					t.Error("the upstream could send all of it")
				}
			case <-time.After(patient.Limit):
				t.Fatal("the upstream still sends to nobody")
			}
		})
	}
}

func TestRespond_quietStreamIsLeftAlone(t *testing.T) {
	for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			g := start(t, gateway.Settings{})
			g.engine.timeouts.Send = 1e9 // for a client to receive, not for an upstream to think
			up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
				for n := range 3 {
					if n > 0 {
						select {
						case <-time.After(1500 * time.Millisecond):
						case <-r.Context().Done():
						}
					}
					_, _ = io.WriteString(w, "x")
					_ = http.NewResponseController(w).Flush()
				}
			})
			g.route(to(up), schema.Object{})
			client := plainClient(t)
			if version == "HTTP/2" {
				client = h2cClient(t)
			}
			req, _ := http.NewRequest("GET", g.server.URL+"/", nil)
			if _, body := send(t, client, req); body != "xxx" {
				t.Errorf("got %q", body)
			}
		})
	}
}

func TestRespond_headAndBodilessResponses(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/304":
			w.Header().Set("Etag", `"x"`)
			w.WriteHeader(http.StatusNotModified)
		case "/204":
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Length", "1000")
		}
	})
	g.route(to(up), schema.Object{"strip_path": false})
	for _, tt := range []struct {
		method, path string
		status       int
		length       string
	}{{"HEAD", "/", 200, "1000"}, {"GET", "/304", 304, ""}, {"GET", "/204", 204, ""}} {
		resp, body := g.do(tt.method, tt.path, nil)
		wantStatus(t, resp, tt.status)
		if got := resp.Header.Get("Content-Length"); body != "" || got != tt.length {
			t.Errorf("%s %s: got %q, Content-Length %q", tt.method, tt.path, body, got)
		}
	}
}

func TestTrailers(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "X-Announced")
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "body")
		w.Header().Set("X-Announced", "1")
		w.Header().Set(http.TrailerPrefix+"X-Sudden", "2")
		w.Header().Set(http.TrailerPrefix+"X-Received", r.Trailer.Get("X-Sent"))
	})
	g.route(to(up), schema.Object{})
	for _, asks := range []bool{true, false} {
		req, _ := http.NewRequest("POST", g.server.URL+"/", struct{ io.Reader }{strings.NewReader("x")})
		req.Trailer = http.Header{"X-Sent": {"3"}}
		want := http.Header{}
		if asks {
			req.Header.Set("Te", "trailers")
			want = http.Header{"X-Announced": {"1"}, "X-Sudden": {"2"}, "X-Received": {"3"}}
		}
		resp, body := send(t, plainClient(t), req)
		if body != "body" || len(resp.Trailer) != len(want) {
			t.Errorf("asks %t: got %q and trailers %v, want %v", asks, body, resp.Trailer, want)
		}
		for name := range want {
			if resp.Trailer.Get(name) != want.Get(name) {
				t.Errorf("%s: got %q, want %q", name, resp.Trailer.Get(name), want.Get(name))
			}
		}
	}
}

func TestInformationalResponses(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		_, _ = io.WriteString(w, "done")
	})
	g.route(to(up), schema.Object{})
	var hints []string
	trace := &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
		hints = append(hints, itoa(code)+" "+h.Get("Link"))
		return nil
	}}
	resp, body := g.get("/", func(r *http.Request) { *r = *r.WithContext(httptrace.WithClientTrace(r.Context(), trace)) })
	wantStatus(t, resp, 200)
	if len(hints) != 1 || hints[0] != "103 </style.css>; rel=preload" {
		t.Errorf("got %q", hints)
	}
	if body != "done" || resp.Header.Get("Link") != "" {
		t.Errorf("got %q, Link %q", body, resp.Header.Get("Link"))
	}
}

func TestInformationalResponses_headersOfTheHopStay(t *testing.T) {
	g := start(t, gateway.Settings{})
	address, _ := rude(t, func(c net.Conn) {
		hangUp(c)
		_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nX-End: 1\r\n\r\n"+
			"HTTP/1.1 204 No Content\r\n\r\n")
	})
	g.pool(schema.Object{}, address)
	for _, tt := range []struct{ version, want string }{
		{"1.1", "HTTP/1.1 103 Early Hints\r\nX-End: 1\r\n\r\nHTTP/1.1 204 "},
		{"1.0", "HTTP/1.0 204 "},
	} {
		c, br := g.raw()
		_, _ = io.WriteString(c, "GET / HTTP/"+tt.version+"\r\nHost: x\r\nConnection: close\r\n\r\n")
		if got, _ := io.ReadAll(br); !strings.HasPrefix(string(got), tt.want) {
			t.Errorf("HTTP/%s: got %q, want %q", tt.version, got, tt.want)
		}
	}
}

func TestInformationalResponses_clientThatReceivesNothingIsCutOff(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.engine.timeouts.Send = 2e8 // 200 ms
	ended := make(chan struct{})
	address, _ := rude(t, func(c net.Conn) {
		defer close(ended)
		hint := "HTTP/1.1 103 Early Hints\r\nLink: " + strings.Repeat("x", 64<<10) + "\r\n\r\n"
		for {
			if _, err := io.WriteString(c, hint); err != nil {
				return
			}
		}
	})
	g.pool(schema.Object{"retries": int64(0)}, address)
	c, _ := g.raw()
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(patient.Limit):
		c.Close()
		t.Fatal("the upstream still sends to nobody")
	}
}

func TestExpectContinue(t *testing.T) {
	g := start(t, gateway.Settings{})
	expected := make(chan string, 1)
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		expected <- r.Header.Get("Expect")
		_, _ = io.Copy(w, r.Body)
	})
	g.route(to(up), schema.Object{})
	c, br := g.raw()
	_, _ = io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	if line, _ := br.ReadString('\n'); line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("got %q", line)
	}
	_, _ = br.ReadString('\n')
	_, _ = io.WriteString(c, "ok")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "ok" {
		t.Errorf("got %q", b)
	}
	if e := <-expected; e != "" {
		t.Errorf("the upstream was told Expect: %s", e)
	}
}

func TestExpectContinue_bodyIsNotAskedForInVain(t *testing.T) {
	g := start(t, gateway.Settings{})
	c, br := g.raw()
	_, _ = io.WriteString(c, "POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	wantStatus(t, resp, 404)
}

// webSocket asks for an upgrade and returns the response's head.
func webSocket(t *testing.T, c net.Conn, br *bufio.Reader, early string) *http.Response {
	t.Helper()
	_, _ = io.WriteString(c, "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"+early)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// echo upgrades, sends back what comes, in lines, and says goodbye when the
// client has ended its half.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "keep-alive, Upgrade" || r.Header.Get("Sec-Websocket-Version") != "13" {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nhello\n")
	_ = rw.Flush()
	for {
		line, err := rw.ReadString('\n')
		_, _ = rw.WriteString(line)
		if err != nil {
			_, _ = rw.WriteString("goodbye\n")
		}
		_ = rw.Flush()
		if err != nil {
			return
		}
	}
}

func TestUpgrade_webSocketBothWaysWithHalfClose(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.route(to(upstream(t, echo)), schema.Object{})
	c, br := g.raw()
	resp := webSocket(t, c, br, "early\n")
	wantStatus(t, resp, 101)
	for name, want := range map[string]string{"Connection": "upgrade", "Upgrade": "websocket", "Sec-Websocket-Accept": "x", "Via": "1.1 kong/3.9.1"} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	wantLatency(t, resp, "X-Kong-Proxy-Latency")
	wantLatency(t, resp, "X-Kong-Upstream-Latency")
	expect := func(want string) {
		t.Helper()
		if got, err := br.ReadString('\n'); got != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
	expect("hello\n")
	expect("early\n")
	_, _ = io.WriteString(c, "ping\n")
	expect("ping\n")
	_ = c.(*net.TCPConn).CloseWrite()
	expect("goodbye\n") // what the upstream says after the client's end
	if _, err := br.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end", err)
	}
}

func TestUpgrade_silenceEndsIt(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.route(to(upstream(t, echo), schema.Object{"read_timeout": int64(2000)}), schema.Object{})
	c, br := g.raw()
	wantStatus(t, webSocket(t, c, br, ""), 101)
	_, _ = br.ReadString('\n')
	tick := time.NewTicker(600 * time.Millisecond)
	defer tick.Stop()
	for range 4 { // longer than the timeout, but not silent
		<-tick.C
		_, _ = io.WriteString(c, "ping\n")
		if got, _ := br.ReadString('\n'); got != "ping\n" {
			t.Fatalf("got %q", got)
		}
	}
	if _, err := br.ReadByte(); err == nil {
		t.Error("got a byte, want the end")
	}
}

func TestUpgrade_otherProtocolsAndRefusals(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Upgrade", r.Header.Get("Upgrade")+"|"+r.Header.Get("Connection"))
		w.WriteHeader(http.StatusForbidden)
	})
	g.route(to(up), schema.Object{})
	for protocol, want := range map[string]string{"h2c": "|keep-alive", "websocket": "websocket|keep-alive, Upgrade"} {
		resp, _ := g.get("/", header("Connection", "Upgrade"), header("Upgrade", protocol))
		wantStatus(t, resp, 403)
		if got := resp.Header.Get("X-Upgrade"); got != want {
			t.Errorf("%s: the upstream saw %q, want %q", protocol, got, want)
		}
	}
}
