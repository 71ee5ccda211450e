package relay

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// How the two ends hear of each other, whichever way the bytes take.

func TestHalfClose_isPassedOn(t *testing.T) {
	for name, way := range ways {
		p := way(t, limits{})
		p.client.Write([]byte("question"))
		p.client.CloseWrite()
		if got, err := io.ReadAll(p.server); err != nil || string(got) != "question" {
			t.Fatalf("%s: the server read %q, %v", name, got, err)
		}
		p.server.Write([]byte("answer"))
		p.server.Close()
		if got, err := io.ReadAll(p.client); err != nil || string(got) != "answer" {
			t.Errorf("%s: the client read %q, %v", name, got, err)
		}
		if err := p.wait(t); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReset_isPassedOn(t *testing.T) {
	for name, way := range ways {
		for _, who := range []string{"client", "server"} {
			p := way(t, limits{})
			gone, other := p.sides(who)
			gone.Write([]byte("x"))
			io.ReadFull(other, make([]byte, 1))
			gone.SetLinger(0)
			gone.Close()
			if _, err := other.Read(make([]byte, 1)); !IsReset(err) {
				t.Errorf("%s: the %s was reset, and the other side got %v", name, who, err)
			}
			p.endsByReset(t, name, who)
		}
	}
}

// sides answers the connection of the one who goes, and the other one.
func (p *path) sides(gone string) (_, other *net.TCPConn) {
	if gone == "server" {
		return p.server, p.client
	}
	return p.client, p.server
}

// endsByReset waits for the end, which has to be somebody's fault.
func (p *path) endsByReset(t *testing.T, name, who string) {
	t.Helper()
	err := p.wait(t)
	var side *SideError
	if !errors.As(err, &side) || side.Upstream != (who == "server") || !IsReset(err) {
		t.Errorf("%s: the %s was reset, and it ends with %v", name, who, err)
	}
}

func TestLimits(t *testing.T) {
	for name, way := range ways {
		t.Run(name+"/silence", func(t *testing.T) {
			t.Parallel()
			p := way(t, limits{silence: 1500 * time.Millisecond})
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
		t.Run(name+"/stall", func(t *testing.T) {
			t.Parallel()
			p := way(t, limits{stall: 300 * time.Millisecond})
			go io.Copy(p.client, zeros{}) // the server reads nothing
			if err := p.wait(t); err != ErrStall {
				t.Errorf("got %v", err)
			}
		})
		t.Run(name+"/silence while the other side is slow", func(t *testing.T) {
			t.Parallel()
			p := way(t, limits{silence: time.Second})
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
	for name, way := range ways {
		cause := errors.New("enough")
		p := way(t, limits{})
		p.cut(cause)
		for _, c := range []net.Conn{p.client, p.server} {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("%s: got %v, want the end", name, err)
			}
		}
		if err := p.wait(t); err != cause {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func BenchmarkPingPong(b *testing.B) {
	for name, way := range ways {
		b.Run(name, func(b *testing.B) {
			p := way(b, limits{})
			go io.Copy(p.server, p.server)
			buf := make([]byte, 100)
			for b.Loop() {
				p.client.Write(buf)
				if _, err := io.ReadFull(p.client, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
