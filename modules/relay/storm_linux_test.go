package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// held keeps a loop from looking while f runs, so that it meets all that f did at
// once.
func held(l *Loop, f func()) {
	began, done := make(chan struct{}), make(chan struct{})
	l.Do(func() { close(began); <-done })
	<-began
	f()
	close(done)
}

func TestLoop_moreHappensThanFitsOneLook(t *testing.T) {
	l := NextLoop()
	const n = 1500
	var seen atomic.Int64
	all := make(chan struct{})
	watches := make([]Watch, n)
	fds := make([]int, n)
	for i := range fds {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			t.Fatal(err)
		}
		fds[i] = fd
	}
	l.Wait(func() {
		for i := range watches {
			if err := watches[i].Begin(l, fds[i], 0, readyFunc(func() {
				if seen.Add(1) == n {
					close(all)
				}
			})); err != nil {
				t.Error(err)
			}
		}
	})
	held(l, func() {
		for _, fd := range fds {
			unix.Write(fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
		}
		time.Sleep(50 * time.Millisecond) // Go's poller has noticed
	})
	select {
	case <-all:
	case <-time.After(5 * time.Second):
		t.Errorf("%d of %d were told", seen.Load(), n)
	}
	l.Wait(func() {
		for i := range watches {
			watches[i].End()
			unix.Close(fds[i])
		}
	})
}

type readyFunc func()

func (f readyFunc) Ready(bool) bool { f(); return false }
func (readyFunc) Late()             {}
func (readyFunc) Broken(error)      {}

// TestLink_aResetBehindBytesIsNoEnd has bytes and the reset seen at once.
func TestLink_aResetBehindBytesIsNoEnd(t *testing.T) {
	for _, who := range []string{"client", "server"} {
		p := newLinkPath(t, nil)
		gone, other := p.sides(who)
		held(p.loop, func() {
			gone.Write([]byte("x"))
			gone.SetLinger(0)
			gone.Close()
		})
		if _, err := io.ReadAll(other); !IsReset(err) {
			t.Errorf("the %s was reset, and the other side got %v", who, err)
		}
		other.Close() // ends a link that took it for an end in order
		p.endsByReset(t, "link", who)
	}
}

// TestLink_bytesBehindUrgentOnesAreRead has all of them come at once, and nothing
// after them.
func TestLink_bytesBehindUrgentOnesAreRead(t *testing.T) {
	for _, bulk := range []int{0, 8 << 20} {
		p := newLinkPath(t, nil)
		raw, _ := p.client.SyscallConn()
		if bulk > 0 {
			go p.client.Write(make([]byte, bulk))
			if _, err := io.ReadFull(p.server, make([]byte, bulk)); err != nil {
				t.Fatal(err)
			}
		}
		held(p.loop, func() {
			p.client.Write([]byte("before"))
			raw.Control(func(fd uintptr) { unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil) })
			p.client.Write([]byte("after"))
		})
		p.server.SetReadDeadline(time.Now().Add(5 * time.Second))
		got := make([]byte, len("beforeafter"))
		if n, err := io.ReadFull(p.server, got); err != nil || string(got) != "beforeafter" {
			t.Errorf("after %d bytes: got %q, %v", bulk, got[:n], err)
		}
		p.client.Close()
		p.server.Close()
		p.wait(t)
	}
}

// TestLink_holdsNoPipeWhileNothingComes is about one that went back from much to
// little.
func TestLink_holdsNoPipeWhileNothingComes(t *testing.T) {
	p := newLinkPath(t, nil)
	go p.client.Write(make([]byte, 8<<20))
	if _, err := io.ReadFull(p.server, make([]byte, 8<<20)); err != nil {
		t.Fatal(err)
	}
	for range 3 * smallSplices {
		p.client.Write([]byte("x"))
		if _, err := io.ReadFull(p.server, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
	}
	p.loop.Wait(func() {
		if p.link.ways[0].pipe != nil {
			t.Error("a pipe is held")
		}
	})
	p.client.Close()
	p.server.Close()
	p.wait(t)
}

// A speaker is what one end of a link does, drawn before it begins: it sends
// pieces with pauses, then ends its bytes or breaks the connection.
type speaker struct {
	conn   *net.TCPConn
	sent   []byte
	pieces *rand.Rand
	breaks bool
	slow   time.Duration // before it reads

	got  []byte
	told error // of a reset, by a write or a read: a socket tells it once
}

func (s *speaker) speak() (told error) {
	for rest := s.sent; len(rest) > 0; {
		n := min(len(rest), 1+s.pieces.IntN(1<<uint(1+s.pieces.IntN(18))))
		if _, err := s.conn.Write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
		if s.pieces.IntN(8) == 0 {
			time.Sleep(time.Duration(s.pieces.IntN(2000)) * time.Microsecond)
		}
	}
	if s.breaks {
		s.conn.SetLinger(0)
		s.conn.Close()
		return nil
	}
	s.conn.CloseWrite()
	return nil
}

func (s *speaker) hear() (told error) {
	time.Sleep(s.slow)
	s.got, told = io.ReadAll(s.conn)
	return told
}

func (s *speaker) live() {
	spoken := make(chan error, 1)
	go func() { spoken <- s.speak() }()
	told := s.hear()
	s.told = errors.Join(told, <-spoken)
}

// TestLink_storm has many links at once whose ends do anything, and some break
// the connection. What one end hears is always what the other one has said so
// far; where nobody broke anything it is all of it, then the end; and where
// somebody did, the link says who, or who was told.
func TestLink_storm(t *testing.T) {
	var all sync.WaitGroup
	for seed := range uint64(150) {
		random := rand.New(rand.NewPCG(seed, 7))
		p := newLinkPath(t, nil)
		ends := [2]*speaker{{conn: p.client}, {conn: p.server}}
		for i, s := range ends {
			s.sent = make([]byte, random.IntN(1<<uint(1+random.IntN(20))))
			for at := range s.sent {
				s.sent[at] = byte(random.Uint32())
			}
			s.pieces = rand.New(rand.NewPCG(seed, uint64(i)))
			s.breaks = random.IntN(4) == 0
			if random.IntN(3) == 0 {
				s.slow = time.Duration(random.IntN(50)) * time.Millisecond
			}
		}
		all.Go(func() {
			var both sync.WaitGroup
			for _, s := range ends {
				both.Go(s.live)
			}
			var err error
			select {
			case err = <-p.done:
			case <-time.After(20 * time.Second):
				t.Errorf("seed %d: the link does not end", seed)
				p.client.Close()
				p.server.Close()
				return
			}
			both.Wait()
			broken := ends[0].breaks || ends[1].breaks
			for i, s := range ends {
				other := ends[1-i]
				if !bytes.HasPrefix(other.sent, s.got) {
					t.Errorf("seed %d: end %d got %d bytes that were not sent", seed, i, len(s.got))
				}
				if !broken && (s.told != nil || len(s.got) != len(other.sent)) {
					t.Errorf("seed %d: end %d got %d of %d bytes, then %v", seed, i, len(s.got), len(other.sent), s.told)
				}
				if !s.breaks && other.breaks && s.told == nil {
					t.Errorf("seed %d: end %d was told of an end in order, and the other one broke the connection", seed, i)
				}
			}
			var side *SideError
			switch {
			case !broken && err != nil:
				t.Errorf("seed %d: %v", seed, err)
			case broken && !errors.As(err, &side):
				t.Errorf("seed %d: broken, and the link says %v", seed, err)
			case broken && side.Upstream && !ends[1].breaks, broken && !side.Upstream && !ends[0].breaks:
				t.Errorf("seed %d: the link blames the wrong side: %v", seed, err)
			}
		})
	}
	all.Wait()
}
