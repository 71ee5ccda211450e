package relay

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Watch tells a Watcher when a descriptor can be read: a listening socket, or
// one of which nobody knows yet what becomes of it. The zero value is ready.
type Watch struct {
	watcher Watcher
	fd      int
	place   place
	until   int64 // 0: without limit
	queued  bool
	on      bool
}

// A Watcher is told about a watch's descriptor, by the loop's goroutine.
type Watcher interface {
	// Ready tells that something can be read, or that the other side sends
	// nothing any more: last. It answers whether it has to be told again, in
	// the loop's next turn; else it is at the next change.
	Ready(last bool) (again bool)

	// Late tells that the time given is over.
	Late()

	// Broken tells that one of these has panicked.
	Broken(err error)
}

// Begin watches fd, which stays the caller's, from now on. After limit the
// watcher is told; 0 is without limit.
func (w *Watch) Begin(l *Loop, fd int, limit time.Duration, watcher Watcher) error {
	w.watcher, w.fd, w.on = watcher, fd, true
	l.enter(&w.place, w)
	if err := w.place.control(unix.EPOLL_CTL_ADD, fd, 0, unix.EPOLLIN|unix.EPOLLRDHUP); err != nil {
		w.on = false
		w.place.leave()
		return err
	}
	if limit > 0 {
		w.until = l.clock + int64(limit)
		w.place.by(w.until)
	}
	return nil
}

// End ends the watch, if it has begun.
func (w *Watch) End() {
	if !w.on {
		return
	}
	w.on = false
	_ = w.place.control(unix.EPOLL_CTL_DEL, w.fd, 0, 0)
	w.place.leave()
}

func (w *Watch) happened(_ int, events uint32) {
	if w.watcher.Ready(events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0) {
		w.later()
	}
}

func (w *Watch) later() {
	if !w.queued && w.on {
		w.queued = true
		w.place.loop.again = append(w.place.loop.again, w)
	}
}

func (w *Watch) proceed() {
	w.queued = false
	if w.on && w.watcher.Ready(false) {
		w.later()
	}
}

func (w *Watch) expire() {
	if w.until > w.place.loop.clock {
		w.place.by(w.until)
		return
	}
	w.watcher.Late()
}

func (w *Watch) broken(err error) { w.watcher.Broken(err) }

// Peek answers what can be read from a socket, without taking it: at most as
// much as a buffer holds. It is valid until the next call.
func (l *Loop) Peek(fd int) ([]byte, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&l.scratch[0])), uintptr(len(l.scratch)), unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("recvfrom", errno)
	}
	return l.scratch[:n], nil
}
