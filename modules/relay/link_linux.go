package relay

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Link is a Relay between two TCP sockets that a Loop serves. The fields must
// not change once it was joined.
type Link struct {
	// Client and Upstream are sockets that do not block and that nobody else
	// holds: the link closes them. Connecting tells that the upstream's is not
	// connected yet.
	Client, Upstream int
	Connecting       bool

	// Owner is told what becomes of the link.
	Owner Owner

	// Connect is how long connecting may take; Silence and Stall are those of
	// a Relay. 0 is without limit.
	Connect, Silence, Stall time.Duration

	// Up, Down, TotalUp and TotalDown count as those of a Relay.
	Up, Down           atomic.Int64
	TotalUp, TotalDown *atomic.Int64

	place  place
	ends   [2]end // client, upstream
	ways   [2]way // client to upstream, upstream to client
	moved  int64  // when bytes were passed on last
	queued bool   // in the loop's again
	over   bool
}

// An Owner is told what becomes of a link, by the loop's goroutine. It does not
// call the link.
type Owner interface {
	// Connected tells that the upstream has taken the connection. An error is
	// why it is not the right one; Failed follows.
	Connected() error

	// Failed tells that it has not. The client's socket is the owner's again,
	// and nothing was read from it.
	Failed(err error)

	// Ended tells that both sockets are closed, with what Run of a Relay
	// answers.
	Ended(err error)
}

// An end is one of the two sockets, as far as the loop knows it. What epoll has
// told once is true until a call finds that it is not.
type end struct {
	fd       int
	readable bool // perhaps
	writable bool // perhaps
	last     bool // its other side sends nothing any more
	unsure   bool // there was urgent data or an error: a short read does not tell that it was all
	written  bool // at least once
	prompt   bool // what is written goes out at once
	asksOut  bool // epoll tells when it becomes writable
}

// A way copies in one direction, in the two manners that the relay has: see
// copier.
type way struct {
	from, to     *end
	count, total *atomic.Int64
	up           bool

	held    *[smallBuffer]byte // nil: nothing is
	begin   int                // of what is held
	end     int
	pipe    *pipe // nil: none is held
	left    int   // in the pipe
	ended   bool  // nothing comes any more
	done    bool  // that was passed on
	splices bool
	run     int   // of full reads, or small splices
	stalled int64 // since when bytes wait for the other side; 0: none do
}

const (
	client   = 0
	upstream = 1

	// budget is how many bytes go one way in one turn of the loop.
	budget = 1 << 20
)

// Join gives the link to a loop. If it fails, both sockets are the caller's.
func (k *Link) Join(l *Loop) error {
	k.ends[client] = end{fd: k.Client, writable: true}
	k.ends[upstream] = end{fd: k.Upstream, writable: !k.Connecting, asksOut: k.Connecting}
	k.ways[0] = way{from: &k.ends[client], to: &k.ends[upstream], count: &k.Up, total: k.TotalUp, up: true}
	k.ways[1] = way{from: &k.ends[upstream], to: &k.ends[client], count: &k.Down, total: k.TotalDown}
	l.enter(&k.place, k)
	for side := range k.ends {
		if err := k.watch(unix.EPOLL_CTL_ADD, side); err != nil {
			if side == upstream {
				_ = k.watch(unix.EPOLL_CTL_DEL, client)
			}
			k.place.leave()
			return err
		}
	}
	k.moved = l.clock
	if !k.Connecting {
		k.limit()
	} else if k.Connect > 0 {
		k.place.by(k.moved + int64(k.Connect))
	}
	return nil
}

// Cut ends the link for the reason given, as that of a Relay does.
func (k *Link) Cut(cause error) {
	if !k.over {
		k.end(cause)
	}
}

// watch asks for what happens to one of the sockets.
func (k *Link) watch(op, side int) error {
	return k.place.control(op, k.ends[side].fd, side, k.ends[side].interest())
}

func (e *end) interest() uint32 {
	events := uint32(unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLPRI)
	if e.asksOut {
		events |= unix.EPOLLOUT
	}
	return events
}

// happened notes what epoll tells of a socket, and goes on from there.
func (k *Link) happened(side int, events uint32) {
	e := &k.ends[side]
	const broken = unix.EPOLLERR | unix.EPOLLHUP
	if events&(unix.EPOLLIN|broken) != 0 {
		e.readable = true
	}
	if events&(unix.EPOLLOUT|broken) != 0 {
		e.writable = true
	}
	if events&unix.EPOLLRDHUP != 0 {
		e.last = true
	}
	if events&(unix.EPOLLPRI|unix.EPOLLERR) != 0 {
		e.unsure = true
	}
	if k.Connecting {
		if side == client || events&(unix.EPOLLOUT|broken) == 0 {
			return
		}
		if events&broken != 0 {
			if err := socketError(e.fd); err != nil {
				k.fail(err)
				return
			}
		}
		k.Connecting = false
		k.moved = k.place.loop.clock
		k.limit()
		if err := k.Owner.Connected(); err != nil {
			k.fail(err)
			return
		}
	} else if events&unix.EPOLLERR != 0 && k.ways[side].ended {
		// Nobody would notice by reading.
		if err := socketError(e.fd); err != nil {
			k.reset(&SideError{Upstream: side == upstream, Err: os.NewSyscallError("read", err)})
			return
		}
	}
	k.proceed()
}

func socketError(fd int) error {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && n != 0 {
		err = syscall.Errno(n)
	}
	return err
}

// proceed passes on what there is.
func (k *Link) proceed() {
	k.queued = false
	if k.over || k.Connecting {
		return
	}
	for i := range k.ways {
		w := &k.ways[i]
		if w.done {
			continue
		}
		if err := k.copy(w); err != nil {
			k.reset(err)
			return
		}
		if w.done && k.ways[1-i].done {
			k.end(nil)
			return
		}
	}
}

// copy passes on what there is in one direction, until one side has to be
// waited for.
func (k *Link) copy(w *way) error {
	for passed := 0; ; {
		if ok, err := k.flush(w); !ok || err != nil {
			return err
		}
		if w.ended {
			return k.finish(w)
		}
		if !w.from.readable {
			return nil
		}
		if passed >= budget {
			k.later()
			return nil
		}
		var n int
		var err error
		if w.splices {
			n, err = k.splice(w)
		} else {
			n, err = k.small(w)
		}
		if err != nil {
			return err
		}
		passed += n
	}
}

// later has the link go on in the loop's next turn.
func (k *Link) later() {
	if !k.queued {
		k.queued = true
		k.place.loop.again = append(k.place.loop.again, k)
	}
}

// finish passes on that nothing comes any more. When both directions are at
// their end, closing tells.
func (k *Link) finish(w *way) error {
	w.done = true
	if other := &k.ways[0]; other == w && k.ways[1].done || other != w && other.done {
		return nil
	}
	if err := unix.Shutdown(w.to.fd, unix.SHUT_WR); err != nil {
		return w.ofDestination("shutdown", err)
	}
	return nil
}

func (w *way) ofSource(call string, err error) error {
	return &SideError{Upstream: !w.up, Err: os.NewSyscallError(call, err)}
}

func (w *way) ofDestination(call string, err error) error {
	return &SideError{Upstream: w.up, Err: os.NewSyscallError(call, err)}
}

// small reads once and writes that.
func (k *Link) small(w *way) (int, error) {
	buf := &k.place.loop.scratch
	n, errno := rawRead(uintptr(w.from.fd), buf[:])
	switch {
	case errno == syscall.EINTR:
		return 0, nil
	case errno == syscall.EAGAIN:
		w.from.readable = false
		return 0, nil
	case errno != 0:
		return 0, w.ofSource("read", errno)
	case n == 0:
		w.ended = true
		return 0, nil
	case n < len(buf):
		// All was read. What comes after that makes a new event; but the end
		// of it may have been told before.
		w.run = 0
		switch {
		case w.from.unsure: // the next read tells
		case w.from.last:
			w.ended = true
		default:
			w.from.readable = false
		}
	default:
		if w.run++; w.run >= fullReads {
			w.splices, w.run = true, 0
		}
	}
	written, err := k.write(w, buf[:n])
	if err == nil && written < n {
		w.held, w.begin, w.end = smallBuffers.Get().(*[smallBuffer]byte), 0, n-written
		copy(w.held[:], buf[written:n])
	}
	return n, err
}

// flush gives the other side what waits for it, and reports whether that is all.
func (k *Link) flush(w *way) (bool, error) {
	if w.held != nil && w.to.writable {
		n, err := k.write(w, w.held[w.begin:w.end])
		if err != nil {
			return false, err
		}
		if w.begin += n; w.begin == w.end {
			smallBuffers.Put(w.held)
			w.held = nil
		}
	}
	for w.left > 0 && w.to.writable {
		n, err := retry(func() (int64, error) {
			return unix.Splice(w.pipe.r, nil, w.to.fd, nil, w.left, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		})
		if err == unix.EAGAIN {
			if err := k.stall(w); err != nil {
				return false, err
			}
			break
		}
		if err != nil {
			return false, w.ofDestination("splice", err)
		}
		w.left -= n
		spliced.Add(int64(n))
		k.passed(w, n)
	}
	if w.held != nil || w.left > 0 {
		return false, nil
	}
	w.stalled = 0
	if !w.splices {
		w.put()
	}
	return true, nil
}

// write writes what the other side takes.
func (k *Link) write(w *way, b []byte) (written int, err error) {
	if err := w.to.hurry(); err != nil {
		return 0, w.ofDestination("setsockopt", err)
	}
	flags := uintptr(unix.MSG_NOSIGNAL)
	if w.ended {
		flags |= unix.MSG_MORE // the end comes at once, and goes with it
	}
	for written < len(b) {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(w.to.fd), uintptr(unsafe.Pointer(&b[written])), uintptr(len(b)-written), flags, 0, 0)
		switch errno {
		case 0:
			written += int(n)
		case syscall.EINTR:
		case syscall.EAGAIN:
			err = k.stall(w)
			k.passed(w, written)
			return written, err
		default:
			k.passed(w, written)
			return written, w.ofDestination("write", errno)
		}
	}
	k.passed(w, written)
	return written, nil
}

// hurry keeps the kernel from waiting for more (TCP_NODELAY), from the second
// write on: the first goes out anyway.
func (e *end) hurry() error {
	if !e.written {
		e.written = true
		return nil
	}
	if e.prompt {
		return nil
	}
	e.prompt = true
	return unix.SetsockoptInt(e.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
}

// stall notes that a socket takes nothing, and asks for the moment when it does.
func (k *Link) stall(w *way) error {
	w.to.writable = false
	if w.stalled == 0 {
		w.stalled = k.place.loop.clock
	}
	if w.to.asksOut {
		return nil
	}
	w.to.asksOut = true
	side := client
	if w.up {
		side = upstream
	}
	return k.watch(unix.EPOLL_CTL_MOD, side) // tells at once if it does by now
}

// splice takes what it can get into the pipe.
func (k *Link) splice(w *way) (int, error) {
	if w.pipe == nil {
		p, err := getPipe()
		if err != nil { // no descriptors are left
			w.splices = false
			return 0, nil
		}
		w.pipe = p
	}
	n, err := retry(func() (int64, error) {
		return unix.Splice(w.from.fd, nil, w.pipe.w, nil, pipeSize, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
	})
	switch {
	case err == unix.EAGAIN:
		w.put() // it may take long
		if w.from.unsure {
			w.splices = false // reads pass by urgent data
		} else {
			w.from.readable = false
		}
		return 0, nil
	case err != nil:
		return 0, w.ofSource("splice", err)
	case n == 0:
		w.ended = true
		w.put()
		return 0, nil
	case n > smallBuffer:
		w.run = 0
	default:
		if w.run++; w.run >= smallSplices {
			w.splices, w.run = false, 0
		}
	}
	w.left = n
	w.to.written = true
	if err := w.to.hurry(); err != nil {
		return n, w.ofDestination("setsockopt", err)
	}
	return n, nil
}

// put gives the pipe up.
func (w *way) put() {
	switch {
	case w.pipe == nil:
	case w.left > 0:
		w.pipe.close()
	default:
		w.pipe.put()
	}
	w.pipe, w.left = nil, 0
}

func (k *Link) passed(w *way, n int) {
	if n == 0 {
		return
	}
	w.count.Add(int64(n))
	if w.total != nil {
		w.total.Add(int64(n))
	}
	k.moved = k.place.loop.clock
	if w.stalled != 0 {
		w.stalled = k.place.loop.clock
	}
}

// limit has the link looked at when one of its limits may have passed.
func (k *Link) limit() {
	if limit := (limits{k.Silence, k.Stall}).shortest(); limit > 0 {
		k.place.by(k.moved + int64(limit))
	} else {
		k.place.loop.due.remove(&k.place.timed)
	}
}

// expire ends the link if one of its limits has passed.
func (k *Link) expire() {
	at := k.place.loop.clock
	if k.Connecting {
		if until := k.moved + int64(k.Connect); until > at {
			k.place.by(until)
			return
		}
		k.fail(os.ErrDeadlineExceeded)
		return
	}
	next, err := limits{k.Silence, k.Stall}.judge(at, k.moved, k.ways[0].stalled, k.ways[1].stalled)
	switch {
	case err == ErrStall:
		k.reset(err)
	case err != nil:
		k.end(err)
	default:
		k.place.by(at + int64(next))
	}
}

// fail gives the client back when there is no connection to the upstream.
func (k *Link) fail(err error) {
	k.over = true
	_ = k.watch(unix.EPOLL_CTL_DEL, client)
	k.place.leave()
	closeFD(k.ends[upstream].fd)
	k.Owner.Failed(err)
}

// broken ends the link after a panic. If that was about the end of it, there is
// nothing left to be done.
func (k *Link) broken(err error) {
	if k.over {
		panic(err)
	}
	k.reset(err)
}

// reset ends the link in a way that both sides notice.
func (k *Link) reset(cause error) {
	for _, e := range k.ends {
		noLinger(e.fd)
	}
	k.end(cause)
}

func noLinger(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// ResetSocket does what Reset does to a connection.
func ResetSocket(fd int) {
	noLinger(fd)
	closeFD(fd)
}

func (k *Link) end(cause error) {
	k.over = true
	k.place.leave()
	for i := range k.ways {
		w := &k.ways[i]
		w.put()
		if w.held != nil {
			smallBuffers.Put(w.held)
			w.held = nil
		}
	}
	for _, e := range k.ends {
		closeFD(e.fd)
	}
	k.Owner.Ended(cause)
}

// closeFD closes a socket. That does not wait: a linger time is set only to 0.
func closeFD(fd int) { _, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(fd), 0, 0) }
