package serve

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// isDone reports whether a lease is done now.
func isDone(l *Lease) bool {
	select {
	case <-l.Done():
		return true
	default:
		return false
	}
}

// hangs answers a request when it is told to; begun tells that one has come.
type hangs struct{ begun, finish chan struct{} }

func newHangs() hangs { return hangs{make(chan struct{}, 8), make(chan struct{})} }

func (h hangs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.begun <- struct{}{}
	select {
	case <-h.finish:
		io.WriteString(w, "finished")
	case <-r.Context().Done():
	}
}

// upgrades hijacks the connection and echoes on it: in the handler, or behind
// its back.
func upgrades(inHandler bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		echo := func() {
			defer c.Close()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			io.Copy(c, buf)
		}
		if inHandler {
			echo()
		} else {
			go echo()
		}
	}
}

// upgrade opens an upgraded connection, and returns a function that checks it.
func (f *fixture) upgrade() (c net.Conn, alive func() error) {
	f.t.Helper()
	c = f.dial()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		f.t.Fatalf("upgrade: %v, %v", resp, err)
	}
	return c, func() error {
		if _, err := io.WriteString(c, "ping\n"); err != nil {
			return err
		}
		line, err := r.ReadString('\n')
		if err == nil && line != "ping\n" {
			err = fmt.Errorf("echo said %q", line)
		}
		return err
	}
}

func TestLease_newestServes(t *testing.T) {
	f := start(t, "", Generation{Handler: says("one")})
	c := f.client()
	f.wantBody(c, "one")
	two := f.open(Generation{Handler: says("two")})
	f.wantBody(c, "two")
	if isDone(f.first) {
		t.Error("the first generation is done before it is closed")
	}
	end(f.first)
	f.wantBody(c, "two")
	f.open(Generation{Handler: says("three")})
	f.wantBody(c, "three")
	end(two)
	f.wantBody(c, "three")
}

func TestLease_failedGenerationLeavesTheOldServing(t *testing.T) {
	f := start(t, "", Generation{Handler: says("old")})
	c := f.client()
	failed := f.open(Generation{Handler: says("new")})
	f.wantBody(c, "new")
	end(failed)
	f.wantBody(c, "old")
	failed.Close() // a second time does no harm
	f.wantBody(c, "old")
}

func TestLease_requestStaysWithItsGeneration(t *testing.T) {
	h := newHangs()
	f := start(t, "", Generation{Handler: h})
	c := f.client()
	body := make(chan string, 1)
	go func() {
		_, text, err := get(c, f.url())
		body <- fmt.Sprint(text, err)
	}()
	<-h.begun
	f.open(Generation{Handler: says("new")})
	f.first.Close()
	f.wantBody(c, "new")
	if isDone(f.first) {
		t.Error("the generation is done while a request runs")
	}
	close(h.finish)
	<-f.first.Done()
	if got := <-body; got != "finished<nil>" {
		t.Errorf("got %s, want finished", got)
	}
}

func TestLease_upgradedConnectionSurvivesSwaps(t *testing.T) {
	for _, inHandler := range []bool{true, false} {
		t.Run(fmt.Sprintf("inHandler=%v", inHandler), func(t *testing.T) {
			f := start(t, "", Generation{Handler: upgrades(inHandler)})
			c, alive := f.upgrade()
			below := f.first
			for range 5 {
				l := f.open(Generation{Handler: says("new")})
				below.Close()
				below = l
				if err := alive(); err != nil {
					t.Fatal(err)
				}
			}
			if isDone(f.first) {
				t.Error("the generation is done while a connection it has upgraded is open")
			}
			c.Close()
			<-f.first.Done()
		})
	}
}

// post sends a request that net/http's client would not send again by itself
// once it has been written, as it would a GET.
func post(c *http.Client, url string) error {
	resp, err := c.Post(url, "text/plain", strings.NewReader("body"))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// load keeps clients busy, each with at most one request in a pace, until stop
// is called, which returns how many requests succeeded and what went wrong.
func (f *fixture) load(clients int, pace time.Duration, c func() *http.Client) (stop func() (int64, []error)) {
	var (
		url    = f.url() // a test may change the options meanwhile
		wg     sync.WaitGroup
		served atomic.Int64
		over   = make(chan struct{})
		mu     sync.Mutex
		errs   []error
	)
	for range clients {
		client := c()
		wg.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				select {
				case <-over:
					return
				case <-tick.C:
				}
				if err := post(client, url); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				} else {
					served.Add(1)
				}
			}
		})
	}
	return func() (int64, []error) {
		close(over)
		wg.Wait()
		return served.Load(), errs
	}
}

// counts answers, and tells when n requests have come.
func counts(n int64) (http.HandlerFunc, <-chan struct{}) {
	enough := make(chan struct{})
	var served atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "ok")
		if served.Add(1) == n {
			close(enough)
		}
	}, enough
}

func TestLease_fiftySwapsUnderLoadLoseNothing(t *testing.T) {
	for _, tt := range []struct {
		name, flags string
		client      func(*http.Transport)
	}{
		{"keep-alive", "reuseport", speaks(true, false, false)},
		{"a connection for each request", "", func(tr *http.Transport) { tr.DisableKeepAlives = true }},
		{"tls, a connection for each request", "ssl reuseport", func(tr *http.Transport) { tr.DisableKeepAlives = true }},
		{"h2", "ssl http2", speaks(false, true, false)},
		{"h2c", "http2", speaks(false, false, true)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handler, enough := counts(1)
			f := start(t, tt.flags, Generation{Handler: handler})
			stop := f.load(4, 200*time.Microsecond, func() *http.Client { return f.client(tt.client) })
			below := f.first
			<-enough
			for range 50 {
				handler, enough := counts(5)
				l := f.open(Generation{Handler: handler})
				<-enough
				end(below)
				below = l
			}
			withoutLoss(t, stop)
		})
	}
}

func TestClose_lastGenerationDrains(t *testing.T) {
	h := newHangs()
	f := start(t, "reuseport", Generation{Handler: h})
	idle := f.dial() // completed, but no request yet
	resp := make(chan *http.Response, 1)
	go func() {
		r, err := f.client().Get(f.url())
		if err != nil {
			t.Error(err)
		}
		resp <- r
	}()
	<-h.begun
	f.first.Close()
	<-draining.all()[0].accepting.none()
	if c, err := net.Dial("tcp", f.cfg.Bind.HostPort()); err == nil {
		c.Close()
		t.Error("a draining server without a successor still takes connections")
	}
	late := make(chan *http.Response, 1)
	go func() {
		io.WriteString(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		r, err := http.ReadResponse(bufio.NewReader(idle), nil)
		if err != nil {
			t.Errorf("the connection that had no request yet: %v", err)
		}
		late <- r
		close(late)
	}()
	select {
	case <-h.begun:
	case <-late:
	}
	if isDone(f.first) {
		t.Error("the generation is done while requests run")
	}
	close(h.finish)
	if r := <-late; r != nil && !r.Close {
		t.Errorf("the connection that had no request yet got %+v; want Connection: close", r)
	}
	if r := <-resp; r != nil {
		text, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || string(text) != "finished" {
			t.Errorf("the running request got %q, %v", text, err)
		}
	}
	<-f.first.Done()
}

func TestClose_gracePeriodEnds(t *testing.T) {
	h := newHangs()
	f := start(t, "", Generation{Handler: h, GracePeriod: 50 * time.Millisecond})
	failed := make(chan error, 1)
	go func() {
		_, _, err := get(f.client(), f.url())
		failed <- err
	}()
	<-h.begun
	end(f.first)
	if err := <-failed; err == nil {
		t.Error("the request was answered, though its handler never ended")
	}
}

func TestClose_gracePeriodCutsUpgradedConnections(t *testing.T) {
	f := start(t, "", Generation{Handler: upgrades(false), GracePeriod: 2 * time.Second})
	_, alive := f.upgrade()
	f.first.Close()
	if err := alive(); err != nil {
		t.Errorf("within the grace period: %v", err)
	}
	<-f.first.Done()
	if err := alive(); err == nil {
		t.Error("the connection outlived the grace period")
	}
}

func TestClose_waitsForUpgradedConnectionsWithoutLimit(t *testing.T) {
	f := start(t, "", Generation{Handler: upgrades(false)})
	c, alive := f.upgrade()
	f.first.Close()
	s := draining.all()[0]
	<-s.accepting.none()
	if err := alive(); err != nil || isDone(f.first) {
		t.Errorf("done = %v, connection: %v", isDone(f.first), err)
	}
	c.Close()
	<-f.first.Done()
}

// exit makes Stop believe that the process is exiting.
func exit(t *testing.T) {
	before := exiting
	exiting = func() bool { return true }
	t.Cleanup(func() { exiting = before })
}

func TestStop_waitsWhenTheProcessExits(t *testing.T) {
	h := newHangs()
	f := start(t, "", Generation{Handler: h})
	left := start(t, "", Generation{Handler: upgrades(false)}) // by an earlier config
	_, alive := left.upgrade()
	Stop(left.first)
	if err := alive(); err != nil || isDone(left.first) {
		t.Fatalf("Stop waited, or cut a connection, though the process goes on: %v", err)
	}

	exit(t)
	body := make(chan string, 1)
	go func() {
		_, text, _ := get(f.client(), f.url())
		body <- text
	}()
	<-h.begun
	stopped := make(chan struct{})
	go func() {
		Stop(f.first)
		close(stopped)
	}()
	<-f.first.server.accepting.none()
	select {
	case <-stopped:
		t.Error("Stop returned while a request runs")
	default:
	}
	close(h.finish)
	if got := <-body; got != "finished" {
		t.Errorf("the running request got %q", got)
	}
	<-stopped
	if !isDone(f.first) || !isDone(left.first) {
		t.Error("Stop returned before the servers were done")
	}
}

func TestStop_handlerThatNeverEndsIsLeftBehind(t *testing.T) {
	exit(t)
	begun, finish := make(chan struct{}), make(chan struct{})
	f := start(t, "", Generation{GracePeriod: 20 * time.Millisecond, Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-finish
	})})
	failed := make(chan error, 1)
	go func() {
		_, _, err := get(f.client(), f.url())
		failed <- err
	}()
	<-begun
	Stop(f.first)
	if isDone(f.first) {
		t.Error("the generation is done while its handler runs")
	}
	close(finish)
	<-f.first.Done()
	<-failed
}

func TestOpen_otherOptionsReplaceTheServerWithoutLoss(t *testing.T) {
	for _, tt := range []struct {
		name   string
		client func(*http.Transport)
	}{
		{"keep-alive", speaks(true, false, false)},
		{"a connection for each request", func(tr *http.Transport) { tr.DisableKeepAlives = true }},
		{"h2c", speaks(false, false, true)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			handler, enough := counts(1)
			f := start(t, "http2 reuseport", Generation{Handler: handler})
			stop := f.load(4, time.Millisecond, func() *http.Client { return f.client(tt.client) })
			<-enough
			f.replace(2, 5)
			withoutLoss(t, stop)
		})
	}
}

// replace opens servers with other options, each of which serves some requests.
func (f *fixture) replace(times int, requests int64) {
	f.t.Helper()
	below := f.first
	for i := range times {
		handler, enough := counts(requests)
		f.cfg.Bind.Backlog = 100 + i
		l := f.open(Generation{Handler: handler})
		end(below)
		<-enough
		below = l
	}
}

// withoutLoss ends a load of which no request may have failed.
func withoutLoss(t *testing.T, stop func() (int64, []error)) {
	t.Helper()
	served, errs := stop()
	if len(errs) > 0 {
		t.Errorf("%d of %d requests failed, the first with: %v", len(errs), served+int64(len(errs)), errs[0])
	}
	t.Logf("%d requests", served)
}

func TestOpen_concurrently(t *testing.T) {
	f := start(t, "", Generation{Handler: says("x")})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				l, err := Open(t.Context(), f.cfg, Generation{Handler: says(strconv.Itoa(i*100 + j))})
				if err != nil {
					t.Error(err)
					return
				}
				if _, _, err := get(http.DefaultClient, f.url()); err != nil {
					t.Error(err)
				}
				end(l)
			}
		})
	}
	wg.Wait()
	f.wantBody(http.DefaultClient, "x")
	http.DefaultClient.CloseIdleConnections()
	if refs, _ := pool.References(f.first.key); refs != 1 {
		t.Errorf("the pool counts %d uses, want 1", refs)
	}
}

// A doorman is a listener wrapper that turns every other connection away.
type doorman struct {
	net.Listener
	turnedAway chan struct{}
}

func (d *doorman) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c.Close()
	close(d.turnedAway)
	return d.Listener.Accept()
}

func TestClose_connectionsThatAWrapperTurnsAwayAreNotWaitedFor(t *testing.T) {
	turnedAway := make(chan struct{})
	f := &fixture{t: t, cfg: Config{Option: t.Name(), Bind: listen.Bind{Address: "127.0.0.1"}}}
	l := f.open(Generation{Handler: says("x"), Wrap: func(ln net.Listener) net.Listener { return &doorman{ln, turnedAway} }})
	f.cfg.Bind.Port = l.Addrs()[0].Port()
	io.ReadAll(f.dial())
	<-turnedAway
	if n := l.server.fresh.count(); n != 0 {
		t.Errorf("%d connections count as fresh, want none", n)
	}
}

// A deaf wrapper's Accept does not notice that its listener is closed until it
// is closed itself.
type deaf struct {
	net.Listener
	closed chan struct{}
}

func (d deaf) Accept() (net.Conn, error) {
	if c, err := d.Listener.Accept(); err == nil {
		return c, nil
	}
	<-d.closed
	return nil, net.ErrClosed
}

func (d deaf) Close() error {
	close(d.closed)
	return d.Listener.Close()
}

func TestClose_wrapperThatDoesNotNoticeIsNotWaitedForEither(t *testing.T) {
	f := &fixture{t: t, cfg: Config{Option: t.Name(), Bind: listen.Bind{Address: "127.0.0.1"}}}
	end(f.open(Generation{Handler: says("x"), Wrap: func(ln net.Listener) net.Listener { return deaf{ln, make(chan struct{})} }}))
}
