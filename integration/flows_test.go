package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// flows is traffic of several kinds that goes on until its context ends.
type flows struct {
	t          *testing.T
	ctx        context.Context
	plain, ssl string // addresses of the proxy
	running    sync.WaitGroup
	all        []*flow

	mu   sync.Mutex
	took []time.Duration // protected by mu; of plain requests
}

// A flow is one connection, or one client that makes many.
type flow struct {
	kind  string
	steps atomic.Int64 // requests, messages or events
	ended atomic.Bool
}

// start runs one flow, which calls step when something arrived. It must not
// end before the context does.
func (f *flows) start(kind string, run func(step func()) error) {
	one := &flow{kind: kind}
	f.all = append(f.all, one)
	f.running.Go(func() {
		defer one.ended.Store(true)
		err := run(func() { one.steps.Add(1) })
		if f.ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended")
		}
		f.t.Errorf("%s, after %d steps: %v", kind, one.steps.Load(), err)
	})
}

// wait returns when every flow has gone on by so many steps, and fails the
// test if one does not.
func (f *flows) wait(steps int64) {
	f.t.Helper()
	for _, one := range f.all {
		goal := one.steps.Load() + steps
		patient.Until(f.t, one.kind+" goes on", func() bool {
			if one.ended.Load() {
				f.t.Fatalf("%s has ended", one.kind)
			}
			return one.steps.Load() >= goal
		})
	}
}

// latencies answers how long plain requests took since the last call.
func (f *flows) latencies() []time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	took := f.took
	f.took = nil
	return took
}

func percentile(took []time.Duration, n int) time.Duration {
	if len(took) == 0 {
		return 0
	}
	slices.Sort(took)
	return took[len(took)*n/100].Round(time.Microsecond)
}

// counts says how often what has happened.
func (f *flows) counts() string {
	var kinds []string
	steps := make(map[string]int64)
	for _, one := range f.all {
		if !slices.Contains(kinds, one.kind) {
			kinds = append(kinds, one.kind)
		}
		steps[one.kind] += one.steps.Load()
	}
	var b strings.Builder
	for i, kind := range kinds {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", kind, steps[kind])
	}
	return b.String()
}

func (f *flows) keptRequests(step func()) error { return f.requests(&http.Transport{}, step) }

func (f *flows) newRequests(step func()) error {
	return f.requests(&http.Transport{DisableKeepAlives: true}, step)
}

// requests sends one request after the other. A body makes them a kind that no
// client repeats on its own.
func (f *flows) requests(transport *http.Transport, step func()) error {
	client := &http.Client{Transport: transport, Timeout: patience}
	defer client.CloseIdleConnections()
	for i := 0; f.ctx.Err() == nil; i++ {
		began := time.Now()
		resp, err := client.Post(fmt.Sprintf("http://%s/flow/%d", f.plain, i), "text/plain", strings.NewReader("x"))
		if err != nil {
			return err
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("/flow/%d", i); err != nil || resp.StatusCode != 200 || string(body) != want {
			return fmt.Errorf("%s: %s %q, %v", want, resp.Status, body, err)
		}
		f.mu.Lock()
		f.took = append(f.took, time.Since(began))
		f.mu.Unlock()
		step()
	}
	return nil
}

// webSocket sends lines through one upgraded connection, and waits for each to
// come back.
func (f *flows) webSocket(step func()) error {
	conn, err := net.Dial("tcp", f.plain)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, "GET /flow/socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	in := bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return errors.New(resp.Status)
	}
	for i := 0; f.ctx.Err() == nil; i++ {
		conn.SetDeadline(time.Now().Add(patience))
		want := fmt.Sprintf("message %d\n", i)
		io.WriteString(conn, want)
		if got, err := in.ReadString('\n'); err != nil || got != want {
			return fmt.Errorf("got %q, want %q, %v", got, want, err)
		}
		step()
		time.Sleep(time.Millisecond)
	}
	return nil
}

// events reads one stream of events, of which none may be missing.
func (f *flows) events(step func()) error {
	req, err := http.NewRequestWithContext(f.ctx, "GET", "http://"+f.plain+"/flow/events", nil)
	if err != nil {
		return err
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return errors.New(resp.Status)
	}
	in := bufio.NewReader(resp.Body)
	for i := 0; ; i++ {
		want := fmt.Sprintf("data: %d\n", i)
		for _, want := range []string{want, "\n"} {
			if got, err := in.ReadString('\n'); err != nil || got != want {
				return fmt.Errorf("got %q, want %q, %v", got, want, err)
			}
		}
		step()
	}
}

// flowHandler is what stands behind plain requests, WebSockets and event
// streams.
func flowHandler(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/flow/socket":
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(conn, buffered)
	case "/flow/events":
		w.Header().Set("Content-Type", "text/event-stream")
		for i := 0; r.Context().Err() == nil; i++ {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			time.Sleep(2 * time.Millisecond)
		}
	default:
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, r.URL.Path)
	}
}

// grpcStream sends messages on one call that streams both ways, and ends it
// properly.
func (f *flows) grpcStream(step func()) error {
	body, send := io.Pipe()
	defer send.Close()
	resp, err := f.call(body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for i := uint32(0); f.ctx.Err() == nil; i++ {
		message := frame(i)
		if _, err := send.Write(message); err != nil {
			return err
		}
		got := make([]byte, len(message))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != string(message) {
			return fmt.Errorf("message %d: got %x, %v", i, got, err)
		}
		step()
		time.Sleep(time.Millisecond)
	}
	send.Close()
	if err := status(resp); err != nil {
		f.t.Errorf("the end of a gRPC stream: %v", err)
	}
	return nil
}

// grpcCalls makes one unary call after the other.
func (f *flows) grpcCalls(step func()) error {
	for i := uint32(0); f.ctx.Err() == nil; i++ {
		resp, err := f.call(strings.NewReader(string(frame(i))))
		if err != nil {
			return err
		}
		err = status(resp)
		resp.Body.Close()
		if err != nil {
			return err
		}
		step()
	}
	return nil
}

// call begins a gRPC call over HTTP/2 with TLS. Each has a connection of its
// own.
func (f *flows) call(body io.Reader) (*http.Response, error) {
	req, err := http.NewRequest("POST", "https://"+f.ssl+"/echo.Echo/Say", body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("Te", "trailers")
	transport := &http.Transport{ForceAttemptHTTP2: true, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 {
		resp.Body.Close()
		return nil, fmt.Errorf("%s %s", resp.Proto, resp.Status)
	}
	return resp, nil
}

// status reads a call to its end and answers what is wrong with its trailers.
func status(resp *http.Response) error {
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if got := resp.Trailer.Get("Grpc-Status"); got != "0" {
		return fmt.Errorf("grpc-status %q", got)
	}
	return nil
}

// frame is a gRPC message with a number in it.
func frame(n uint32) []byte {
	return []byte{0, 0, 0, 0, 4, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

// echoFrames answers every gRPC message with itself.
func echoFrames(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	control.Flush()
	message := make([]byte, len(frame(0)))
	for {
		if _, err := io.ReadFull(r.Body, message); err != nil {
			break
		}
		w.Write(message)
		control.Flush()
	}
	w.Header().Set("Grpc-Status", "0")
}
