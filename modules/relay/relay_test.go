package relay

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// A path is a relay or a link with somebody at both ends.
type path struct {
	client, server *net.TCPConn // the ends
	cut            func(cause error)
	done           chan error
	relay          *Relay // nil: it is a link
}

// newPath gives the ends of two connections.
func newPath(t testing.TB) (p *path, in, out *net.TCPConn) {
	t.Helper()
	p = &path{done: make(chan error, 1)}
	p.client, in = pair(t)
	out, p.server = pair(t)
	deadline := time.Now().Add(30 * time.Second)
	p.client.SetDeadline(deadline)
	p.server.SetDeadline(deadline)
	return p, in, out
}

// pair makes a TCP connection.
func pair(t testing.TB) (dialed, accepted *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	d, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	a, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(); a.Close() })
	return d.(*net.TCPConn), a.(*net.TCPConn)
}

// newRelayPath runs a relay; wrap hides what its connections are, if it is set.
func newRelayPath(t testing.TB, wrap func(net.Conn) net.Conn, change func(*Relay)) *path {
	t.Helper()
	p, in, out := newPath(t)
	if wrap == nil {
		wrap = func(c net.Conn) net.Conn { return c }
	}
	p.relay = &Relay{Client: wrap(in), Upstream: wrap(out)}
	p.cut = p.relay.Cut
	if change != nil {
		change(p.relay)
	}
	go func() { p.done <- p.relay.Run() }()
	return p
}

func (p *path) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(patient.Limit):
		t.Fatal("it does not end")
		return nil
	}
}

// opaque is a connection that only has the methods of all.
type opaque struct{ net.Conn }

func (o opaque) CloseWrite() error { return o.Conn.(*net.TCPConn).CloseWrite() }
func (o opaque) NetConn() net.Conn { return o.Conn }

// wraps are the connections that a relay may have.
var wraps = map[string]func(net.Conn) net.Conn{
	"tcp":    nil,
	"others": func(c net.Conn) net.Conn { return opaque{c} },
}

// ways are all that passes bytes on between two connections, and keeps to limits.
var ways = map[string]func(testing.TB, limits) *path{}

func init() {
	for name, wrap := range wraps {
		ways[name] = func(t testing.TB, l limits) *path {
			return newRelayPath(t, wrap, func(r *Relay) { r.Silence, r.Stall = l.silence, l.stall })
		}
	}
}

func TestRun_passesAllBytesBothWays(t *testing.T) {
	for name, wrap := range wraps {
		for _, size := range []int{1, 100, smallSize, 3 * smallSize, 20 << 20} {
			p := newRelayPath(t, wrap, func(r *Relay) { r.First = []byte("peeked") })
			sent := make([]byte, size)
			rand.Read(sent)
			answers := make(chan []byte)
			for _, side := range []*net.TCPConn{p.client, p.server} {
				go func() {
					side.Write(sent)
					side.CloseWrite()
				}()
				go func() {
					got, _ := io.ReadAll(side)
					answers <- got
				}()
			}
			a, b := <-answers, <-answers
			if len(a) < len(b) {
				a, b = b, a
			}
			if want := append([]byte("peeked"), sent...); !bytes.Equal(a, want) || !bytes.Equal(b, sent) {
				t.Errorf("%s, %d bytes: %d and %d came", name, size, len(a), len(b))
			}
			if err := p.wait(t); err != nil {
				t.Errorf("%s, %d bytes: %v", name, size, err)
			}
			if up, down := p.relay.Up.Load(), p.relay.Down.Load(); up != int64(size+6) || down != int64(size) {
				t.Errorf("%s: counted %d up and %d down, want %d and %d", name, up, down, size+6, size)
			}
		}
	}
}

const smallSize = 16 << 10

// TestRun_splicesWhatIsMuch is about what happens after a peek, too.
func TestRun_splicesWhatIsMuch(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux can splice; run the test there")
	}
	for _, first := range []string{"", "peeked"} {
		before := Spliced()
		p := newRelayPath(t, nil, func(r *Relay) { r.First = []byte(first) })
		const size = 64 << 20
		go func() {
			io.CopyN(p.client, zeros{}, size)
			p.client.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, p.server); err != nil || n != int64(size+len(first)) {
			t.Fatalf("%d bytes came, %v", n, err)
		}
		p.server.Close()
		p.wait(t)
		if through := Spliced() - before; through < size*9/10 {
			t.Errorf("after %q: %d of %d bytes were spliced", first, through, size)
		}
	}
}

// TestRun_changesWays sends much and little in turns.
func TestRun_changesWays(t *testing.T) {
	p := newRelayPath(t, nil, nil)
	sum := sha256.New()
	go func() {
		for range 20 {
			b := make([]byte, 1<<20)
			rand.Read(b)
			sum.Write(b)
			p.client.Write(b)
			for range 40 {
				sum.Write(b[:10])
				p.client.Write(b[:10])
				time.Sleep(50 * time.Microsecond)
			}
		}
		p.client.CloseWrite()
	}()
	got := sha256.New()
	if _, err := io.Copy(got, p.server); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Sum(nil), sum.Sum(nil)) {
		t.Error("other bytes came than were sent")
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func BenchmarkRun_bulk(b *testing.B) {
	p := newRelayPath(b, nil, nil)
	go io.Copy(io.Discard, p.server)
	buf := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		p.client.Write(buf)
	}
}
