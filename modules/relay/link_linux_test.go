package relay

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linkPath is a path of a link. It tells what its owner is told.
type linkPath struct {
	*path
	link      *Link
	loop      *Loop
	connected chan struct{}
	failed    chan error
}

func init() {
	ways["link"] = func(t testing.TB, l limits) *path {
		return newLinkPath(t, func(k *Link) { k.Silence, k.Stall = l.silence, l.stall }).path
	}
}

func (p *linkPath) Connected() error { close(p.connected); return nil }
func (p *linkPath) Failed(err error) { p.failed <- err }
func (p *linkPath) Ended(err error)  { p.done <- err }

// descriptor takes the socket away from net.
func descriptor(t testing.TB, c *net.TCPConn) int {
	t.Helper()
	f, err := c.File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	defer c.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

func newLinkPath(t testing.TB, change func(*Link)) *linkPath {
	t.Helper()
	ends, in, out := newPath(t)
	p := &linkPath{path: ends, loop: NextLoop(), connected: make(chan struct{}), failed: make(chan error, 1)}
	p.link = &Link{Client: descriptor(t, in), Upstream: descriptor(t, out), Owner: p}
	p.cut = func(cause error) { p.loop.Do(func() { p.link.Cut(cause) }) }
	if change != nil {
		change(p.link)
	}
	p.loop.Wait(func() {
		if err := p.link.Join(p.loop); err != nil {
			t.Error(err)
		}
	})
	return p
}

// TestLink_likeTwoPipes sends pieces of any size with pauses both ways, and ends
// each way on its own. What arrives is what was sent, then the end.
func TestLink_likeTwoPipes(t *testing.T) {
	for seed := range uint64(40) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			p := newLinkPath(t, nil)
			var all sync.WaitGroup
			var sum [2]int64
			for i, ends := range [][2]*net.TCPConn{{p.client, p.server}, {p.server, p.client}} {
				sent := make([]byte, random.IntN(1<<uint(4+random.IntN(19))))
				sum[i] = int64(len(sent))
				for at := range sent {
					sent[at] = byte(random.Uint32())
				}
				pieces, slow := rand.New(rand.NewPCG(seed, uint64(i))), random.IntN(3) == 0
				all.Go(func() {
					for rest := sent; len(rest) > 0; {
						n := min(len(rest), 1+pieces.IntN(1<<uint(1+pieces.IntN(18))))
						if _, err := ends[0].Write(rest[:n]); err != nil {
							t.Error(err)
							return
						}
						rest = rest[n:]
						if pieces.IntN(8) == 0 {
							time.Sleep(time.Duration(pieces.IntN(2000)) * time.Microsecond)
						}
					}
					ends[0].CloseWrite()
				})
				all.Go(func() {
					if slow {
						time.Sleep(100 * time.Millisecond)
					}
					if got, err := io.ReadAll(ends[1]); err != nil || !bytes.Equal(got, sent) {
						t.Errorf("seed %d: %d bytes were sent, %d came, %v", seed, len(sent), len(got), err)
					}
				})
			}
			all.Wait()
			if err := p.wait(t); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			if p.link.Up.Load() != sum[0] || p.link.Down.Load() != sum[1] {
				t.Errorf("seed %d: counted %d and %d, want %v", seed, p.link.Up.Load(), p.link.Down.Load(), sum)
			}
		})
	}
}

func TestLink_urgentDataIsNotTheEnd(t *testing.T) {
	p := newLinkPath(t, nil)
	raw, _ := p.client.SyscallConn()
	p.client.Write([]byte("before"))
	raw.Control(func(fd uintptr) { unix.Sendto(int(fd), []byte("!"), unix.MSG_OOB, nil) })
	p.client.Write([]byte("after"))
	p.client.CloseWrite()
	if got, err := io.ReadAll(p.server); err != nil || string(got) != "beforeafter" {
		t.Errorf("got %q, %v", got, err)
	}
	p.server.Close()
	p.wait(t)
}

// TestLink_resetAfterItsEnd: who has ended his own bytes may break the connection
// later.
func TestLink_resetAfterItsEnd(t *testing.T) {
	for _, who := range []string{"client", "server"} {
		p := newLinkPath(t, nil)
		gone, other := p.sides(who)
		gone.CloseWrite()
		if _, err := other.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: got %v, want the end", who, err)
		}
		gone.SetLinger(0)
		gone.Close()
		p.endsByReset(t, "link", who)
	}
}

func TestLink_connectingHasALimit(t *testing.T) {
	// A queue of one that is full answers nobody any more.
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	unix.Listen(fd, 0)
	at, _ := unix.Getsockname(fd)
	connect := func() int {
		c, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err := unix.Connect(c, at); err != nil && err != unix.EINPROGRESS {
			t.Fatal(err)
		}
		return c
	}
	for range 3 {
		defer unix.Close(connect())
	}
	p := newLinkPath(t, func(k *Link) {
		unix.Close(k.Upstream)
		k.Upstream, k.Connecting, k.Connect = connect(), true, 200*time.Millisecond
	})
	select {
	case err := <-p.failed:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("connecting does not end")
	}
	p.client.Write([]byte("still there")) // the client is its owner's again
	f := os.NewFile(uintptr(p.link.Client), "")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	buf := make([]byte, 11)
	if _, err := io.ReadFull(c, buf); err != nil || string(buf) != "still there" {
		t.Errorf("got %q, %v", buf, err)
	}
}

// TestLink_aPanicIsOfOneLink has an owner panic; another link of the loop goes on.
func TestLink_aPanicIsOfOneLink(t *testing.T) {
	good := newLinkPath(t, nil)
	bad := newLinkPath(t, nil)
	bad.loop = good.loop
	ended := make(chan error, 1)
	fd := descriptor(t, bad.server)
	w := new(Watch)
	good.loop.Wait(func() { w.Begin(good.loop, fd, 0, panics{ended}) })
	bad.client.Write([]byte("x"))
	select {
	case err := <-ended:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was told")
	}
	good.client.Write([]byte("x"))
	if _, err := io.ReadFull(good.server, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	good.loop.Wait(w.End)
	unix.Close(fd)
}

type panics struct{ told chan error }

func (panics) Ready(bool) bool    { panic("oh") }
func (panics) Late()              {}
func (p panics) Broken(err error) { p.told <- err }

// TestLink_idleOnesCostLittle holds many: no goroutine each, and less than 4 KiB.
func TestLink_idleOnesCostLittle(t *testing.T) {
	var files syscall.Rlimit
	syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files)
	n := min(10_000, int(files.Cur)/5)
	if n < 100 {
		t.Skip("needs more open files (ulimit -n)")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw := func() (a, b int) {
		to := ln.Addr().(*net.TCPAddr)
		a, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		if err == nil {
			if err = unix.Connect(a, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte{127, 0, 0, 1}}); err == unix.EINPROGRESS {
				err = nil
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return a, descriptor(t, c.(*net.TCPConn))
	}
	loop := NextLoop()
	memory := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc + m.StackInuse)
	}
	before, goroutines := memory(), runtime.NumGoroutine()
	var links []*Link
	var far []int
	var left sync.WaitGroup
	for range n {
		a, b := raw()
		c, d := raw()
		links = append(links, &Link{Client: b, Upstream: c, Owner: counts{&left}, Silence: time.Minute})
		far = append(far, a, d)
	}
	left.Add(n)
	loop.Wait(func() {
		for _, k := range links {
			if err := k.Join(loop); err != nil {
				t.Error(err)
			}
		}
	})
	if each := (memory() - before) / int64(n); each > 4096 {
		t.Errorf("a link costs %d bytes", each)
	}
	if more := runtime.NumGoroutine() - goroutines; more > 10 {
		t.Errorf("%d goroutines more for %d links", more, n)
	}
	for _, fd := range far {
		unix.Close(fd)
	}
	done := make(chan struct{})
	go func() { left.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("not all links end")
	}
}

type counts struct{ left *sync.WaitGroup }

func (counts) Connected() error { return nil }
func (counts) Failed(error)     {}
func (c counts) Ended(error)    { c.left.Done() }
