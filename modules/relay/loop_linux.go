package relay

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Loop serves many descriptors with one goroutine. It has an epoll of its own,
// which Go's poller watches as one descriptor: the goroutine sleeps there as any
// other one does, and asks at once for all that has happened meanwhile. A
// connection costs it neither a goroutine nor a timer, and memory for bytes only
// while somebody does not take them.
//
// Links and watches belong to the goroutine of their loop: their methods are
// called there, by what the loop calls itself or by a function given to Do, and
// nothing that is called there may wait.
type Loop struct {
	epoll, poke int      // poke is an eventfd in the epoll, which wakes the goroutine
	file        *os.File // the epoll, for Go's poller

	mu     sync.Mutex
	posted []func() // protected by mu

	// What follows is the goroutine's own.

	slots   []slot
	free    []uint32 // numbers of empty slots
	left    []uint32 // of those that are empty when all events were looked at
	again   []guest  // that have more to do
	going   []guest  // the same, of the turn that goes on
	due     timers
	alarmed int64 // when Go's poller wakes the goroutine for a timer; 0: it does not
	clock   int64 // when the turn began
	events  [256]unix.EpollEvent
	scratch [smallBuffer]byte
}

// A guest is what has a slot: a *Link or a *Watch.
type guest interface {
	happened(side int, events uint32)
	proceed()
	expire()
	broken(err error) // by a panic of its own
}

// A slot is where an event finds whom it is for. It may come late, so it also
// says which of those it is for that had the slot.
type slot struct {
	guest  guest // nil: empty
	serial uint32
}

const (
	pokeSlot = 1<<31 - 1

	// patience is how long the goroutine goes on before it looks after others.
	patience = int64(500 * time.Microsecond)
)

// loops are those of the process: one for each processor that Go uses, made at
// first use. They never end.
var loops = sync.OnceValue(func() []*Loop {
	var all []*Loop
	for range runtime.GOMAXPROCS(0) {
		l, err := newLoop()
		if err != nil {
			break // few descriptors; goroutines serve whom no loop can
		}
		all = append(all, l)
	}
	return all
})

var turns atomic.Uint32

// NextLoop answers the process's loops in turns; nil if there are none.
func NextLoop() *Loop {
	all := loops()
	if len(all) == 0 {
		return nil
	}
	return all[int(turns.Add(1))%len(all)]
}

func newLoop() (*Loop, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	poke, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll)
		return nil, os.NewSyscallError("eventfd", err)
	}
	_ = unix.SetNonblock(epoll, true) // that is how os knows that Go's poller is meant
	l := &Loop{epoll: epoll, poke: poke, file: os.NewFile(uintptr(epoll), "epoll")}
	l.due.init()
	raw, err := l.file.SyscallConn()
	if err == nil {
		err = l.file.SetReadDeadline(time.Time{}) // fails if Go's poller does not have it
	}
	if err == nil {
		err = l.control(unix.EPOLL_CTL_ADD, poke, unix.EPOLLIN, pokeSlot, 0)
	}
	if err != nil {
		l.file.Close()
		unix.Close(poke)
		return nil, err
	}
	go l.run(raw)
	return l, nil
}

// Do has f called by the loop's goroutine.
func (l *Loop) Do(f func()) {
	l.mu.Lock()
	l.posted = append(l.posted, f)
	first := len(l.posted) == 1
	l.mu.Unlock()
	if first {
		l.wake()
	}
}

// Wait does the same, and returns when f has. The goroutine itself must not.
func (l *Loop) Wait(f func()) {
	done := make(chan struct{})
	l.Do(func() {
		defer close(done)
		f()
	})
	<-done
}

// Settle waits until all loops have done what they were given to do before.
func Settle() {
	for _, l := range loops() {
		l.Wait(func() {})
	}
}

// wake makes the epoll ready.
func (l *Loop) wake() {
	one := [8]byte{1}
	_, _, _ = syscall.RawSyscall(syscall.SYS_WRITE, uintptr(l.poke), uintptr(unsafe.Pointer(&one)), uintptr(len(one)))
}

// run turns until the end of the process. Go's poller tells of each change once;
// it notes them from before the first look on, so none is missed.
func (l *Loop) run(raw syscall.RawConn) {
	look := func(uintptr) bool {
		for began := now(); l.turn(); {
			if l.clock-began > patience {
				l.wake() // after those that Go's poller has
				break
			}
		}
		return false
	}
	for {
		if err := raw.Read(look); !errors.Is(err, os.ErrDeadlineExceeded) {
			panic(fmt.Sprintf("relay: waiting for an epoll: %v", err))
		}
		l.alarmed = 0
		_ = l.file.SetReadDeadline(time.Time{})
	}
}

// turn does what there is to do, and reports whether some of it is left. Go's
// poller does not tell again of events that there was no room for.
func (l *Loop) turn() bool {
	n := l.ask()
	l.clock = now()
	l.going, l.again = l.again, l.going[:0]
	for at := 0; at < n; {
		at = l.look(at, n)
	}
	for at := 0; at < len(l.going); {
		at = l.goOn(at)
	}
	for l.due.behind(l.clock) {
		l.expire()
	}
	l.free = append(l.free, l.left...)
	l.left = l.left[:0]
	l.alarm()
	return n == len(l.events) || len(l.again) > 0
}

// ask answers how many events there are. It does not wait, so there is nothing
// to tell Go's scheduler.
func (l *Loop) ask() int {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&l.events[0])), uintptr(len(l.events)), 0, 0, 0)
	if errno != 0 {
		return 0
	}
	return int(n)
}

// look deals with the events from at on, and answers where it has stopped.
func (l *Loop) look(at, n int) (next int) {
	var g guest
	defer l.rescue(&g)
	for next = at; next < n; {
		e := &l.events[next]
		next++
		if e.Pad == pokeSlot {
			l.doPosted()
			continue
		}
		s := &l.slots[uint32(e.Pad)>>1]
		if g = s.guest; g != nil && s.serial == uint32(e.Fd) {
			g.happened(int(e.Pad)&1, e.Events)
		}
		g = nil
	}
	return next
}

func (l *Loop) doPosted() {
	l.mu.Lock()
	posted := l.posted
	l.posted = nil
	l.mu.Unlock()
	for _, f := range posted {
		f()
	}
}

// goOn deals with those who had more to do, from at on, and answers where it has
// stopped.
func (l *Loop) goOn(at int) (next int) {
	var g guest
	defer l.rescue(&g)
	for next = at; next < len(l.going); {
		g, l.going[next] = l.going[next], nil
		next++
		g.proceed()
	}
	return next
}

// expire deals with those whose time may have come.
func (l *Loop) expire() {
	var g guest
	defer l.rescue(&g)
	for g = l.due.next(l.clock); g != nil; g = l.due.next(l.clock) {
		g.expire()
	}
}

// rescue keeps a panic about one guest from the others. One that is about none
// is a panic of the process.
func (l *Loop) rescue(g *guest) {
	if *g == nil {
		return
	}
	if p := recover(); p != nil {
		(*g).broken(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
	}
}

// alarm has the goroutine woken for the timers, as long as there are any; it may
// be woken for none.
func (l *Loop) alarm() {
	if at := l.due.alarm(); at != 0 && (l.alarmed == 0 || at < l.alarmed) {
		l.alarmed = at
		_ = l.file.SetReadDeadline(epoch.Add(time.Duration(at)))
	}
}

// A place is a guest's in its loop.
type place struct {
	loop   *Loop
	slot   uint32
	serial uint32
	timed  timed
}

// enter gives a guest a slot.
func (l *Loop) enter(p *place, g guest) {
	if n := len(l.free); n > 0 {
		p.slot, l.free = l.free[n-1], l.free[:n-1]
	} else {
		p.slot = uint32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	s := &l.slots[p.slot]
	s.serial++
	s.guest, p.serial, p.loop, p.timed.guest = g, s.serial, l, g
}

// leave takes the slot back, for others as soon as all events were looked at.
func (p *place) leave() {
	p.loop.slots[p.slot].guest = nil
	p.loop.left = append(p.loop.left, p.slot)
	p.loop.due.remove(&p.timed)
}

// by has the guest looked at when at has come, or earlier.
func (p *place) by(at int64) { p.loop.due.put(&p.timed, p.loop.clock, at) }

// control asks for what happens to a descriptor: each change is told once.
// Closing it ends that, too.
func (p *place) control(op, fd, side int, events uint32) error {
	return p.loop.control(op, fd, events, int32(p.slot<<1)|int32(side), int32(p.serial))
}

func (l *Loop) control(op, fd int, events uint32, slot, serial int32) error {
	e := unix.EpollEvent{Events: events | unix.EPOLLET, Pad: slot, Fd: serial}
	_, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_CTL, uintptr(l.epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno != 0 {
		return os.NewSyscallError("epoll_ctl", errno)
	}
	return nil
}
