package relay

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/patient"
)

// A path is a relay with somebody at both ends.
type path struct {
	client, server *net.TCPConn // the ends
	relay          *Relay
	done           chan error
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

// newPath runs a relay; wrap hides what its connections are, if it is set.
func newPath(t testing.TB, wrap func(net.Conn) net.Conn, change func(*Relay)) *path {
	t.Helper()
	client, in := pair(t)
	out, server := pair(t)
	if wrap == nil {
		wrap = func(c net.Conn) net.Conn { return c }
	}
	p := &path{client: client, server: server, relay: &Relay{Client: wrap(in), Upstream: wrap(out)}, done: make(chan error, 1)}
	if change != nil {
		change(p.relay)
	}
	deadline := time.Now().Add(30 * time.Second)
	client.SetDeadline(deadline)
	server.SetDeadline(deadline)
	go func() { p.done <- p.relay.Run() }()
	return p
}

func (p *path) wait(t testing.TB) error {
	t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(patient.Limit):
		t.Fatal("the relay does not end")
		return nil
	}
}

// opaque is a connection that only has the methods of all.
type opaque struct{ net.Conn }

func (o opaque) CloseWrite() error { return o.Conn.(*net.TCPConn).CloseWrite() }
func (o opaque) NetConn() net.Conn { return o.Conn }

var ways = []struct {
	name string
	wrap func(net.Conn) net.Conn
}{
	{"tcp", nil},
	{"others", func(c net.Conn) net.Conn { return opaque{c} }},
}

func TestRun_passesAllBytesBothWays(t *testing.T) {
	for _, way := range ways {
		for _, size := range []int{1, 100, smallSize, 3 * smallSize, 20 << 20} {
			p := newPath(t, way.wrap, func(r *Relay) { r.First = []byte("peeked") })
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
				t.Errorf("%s, %d bytes: %d and %d came", way.name, size, len(a), len(b))
			}
			if err := p.wait(t); err != nil {
				t.Errorf("%s, %d bytes: %v", way.name, size, err)
			}
			if up, down := p.relay.Up.Load(), p.relay.Down.Load(); up != int64(size+6) || down != int64(size) {
				t.Errorf("%s: counted %d up and %d down, want %d and %d", way.name, up, down, size+6, size)
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
		p := newPath(t, nil, func(r *Relay) { r.First = []byte(first) })
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
	p := newPath(t, nil, nil)
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

func TestRun_passesHalfCloseOn(t *testing.T) {
	for _, way := range ways {
		p := newPath(t, way.wrap, nil)
		p.client.Write([]byte("question"))
		p.client.CloseWrite()
		if got, err := io.ReadAll(p.server); err != nil || string(got) != "question" {
			t.Fatalf("%s: the server read %q, %v", way.name, got, err)
		}
		p.server.Write([]byte("answer"))
		p.server.Close()
		if got, err := io.ReadAll(p.client); err != nil || string(got) != "answer" {
			t.Errorf("%s: the client read %q, %v", way.name, got, err)
		}
		if err := p.wait(t); err != nil {
			t.Errorf("%s: %v", way.name, err)
		}
	}
}

func TestRun_passesResetOn(t *testing.T) {
	for _, way := range ways {
		for _, who := range []string{"client", "server"} {
			p := newPath(t, way.wrap, nil)
			p.client.Write([]byte("x"))
			io.ReadFull(p.server, make([]byte, 1))
			gone, other := p.client, p.server
			if who == "server" {
				gone, other = p.server, p.client
			}
			gone.SetLinger(0)
			gone.Close()
			if _, err := other.Read(make([]byte, 1)); !IsReset(err) {
				t.Errorf("%s: the %s was reset, and the other side got %v", way.name, who, err)
			}
			err := p.wait(t)
			var side *SideError
			if !errors.As(err, &side) || side.Upstream != (who == "server") || !IsReset(err) {
				t.Errorf("%s: the %s was reset, and the relay says %v", way.name, who, err)
			}
		}
	}
}

func TestRun_limits(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name+"/silence", func(t *testing.T) {
			t.Parallel()
			p := newPath(t, way.wrap, func(r *Relay) { r.Silence = 1500 * time.Millisecond })
			begin := time.Now()
			for range 5 { // bytes keep it alive
				p.server.Write([]byte("x"))
				io.ReadFull(p.client, make([]byte, 1))
				time.Sleep(400 * time.Millisecond)
			}
			if err := p.wait(t); err != ErrSilence {
				t.Errorf("got %v", err)
			}
			if took := time.Since(begin); took < 3*time.Second || took > 20*time.Second {
				t.Errorf("it ended after %v", took)
			}
		})
		t.Run(way.name+"/stall", func(t *testing.T) {
			t.Parallel()
			p := newPath(t, way.wrap, func(r *Relay) { r.Stall = 300 * time.Millisecond })
			go io.Copy(p.client, zeros{}) // the server reads nothing
			if err := p.wait(t); err != ErrStall {
				t.Errorf("got %v", err)
			}
		})
		t.Run(way.name+"/silence while the other side is slow", func(t *testing.T) {
			t.Parallel()
			p := newPath(t, way.wrap, func(r *Relay) { r.Silence = time.Second })
			go func() {
				io.CopyN(p.client, zeros{}, 30<<20)
				p.client.CloseWrite()
			}()
			time.Sleep(3 * time.Second)
			if n, _ := io.Copy(io.Discard, p.server); n != 30<<20 {
				t.Errorf("%d bytes came: somebody who is slow is not silent", n)
			}
			p.server.Close()
			p.wait(t)
		})
	}
}

func TestCut_endsBothSides(t *testing.T) {
	cause := errors.New("enough")
	p := newPath(t, nil, nil)
	p.relay.Cut(cause)
	for _, c := range []net.Conn{p.client, p.server} {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("got %v, want the end", err)
		}
	}
	if err := p.wait(t); err != cause {
		t.Errorf("got %v", err)
	}
}

func BenchmarkRun_pingPong(b *testing.B) {
	p := newPath(b, nil, nil)
	go io.Copy(p.server, p.server)
	buf := make([]byte, 100)
	for b.Loop() {
		p.client.Write(buf)
		if _, err := io.ReadFull(p.client, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRun_bulk(b *testing.B) {
	p := newPath(b, nil, nil)
	go io.Copy(io.Discard, p.server)
	buf := make([]byte, 1<<20)
	b.SetBytes(1 << 20)
	for b.Loop() {
		p.client.Write(buf)
	}
}
