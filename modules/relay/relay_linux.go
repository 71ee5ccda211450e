package relay

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Between two TCP connections bytes are copied by whichever way is the cheaper:
// what comes in small pieces is read and written; as soon as more comes than a
// buffer takes, it is spliced, which moves pages inside of the kernel and never
// brings them here. Neither way holds memory or a pipe while nothing comes.
const (
	smallBuffer  = 16 << 10
	pipeSize     = 1 << 20
	fullReads    = 2  // so many full buffers in a row begin the splicing
	smallSplices = 16 // so many pieces in a row that a buffer takes end it
)

// spliced counts the bytes that went through pipes.
var spliced atomic.Int64

// Spliced is how many bytes the relays of this process have spliced.
func Spliced() int64 { return spliced.Load() }

var smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}

func (h *half) copy() error {
	src, ok1 := h.src.(*net.TCPConn)
	dst, ok2 := h.dst.(*net.TCPConn)
	if !ok1 || !ok2 {
		return h.copyPlain()
	}
	from, err := src.SyscallConn()
	if err != nil {
		return h.ofSource(err)
	}
	to, err := dst.SyscallConn()
	if err != nil {
		return h.ofDestination(err)
	}
	c := copier{half: h, from: from, to: to}
	for {
		if err := c.copySmall(); err != nil || c.ended {
			return err
		}
		if err := c.splice(); err != nil || c.ended {
			return err
		}
	}
}

// A copier copies from one TCP connection to another.
type copier struct {
	*half
	from, to syscall.RawConn
	ended    bool
}

// copySmall copies through a buffer until the source has ended, or sends more
// than that.
func (c *copier) copySmall() error {
	var (
		buf     *[smallBuffer]byte
		n       int
		errno   syscall.Errno
		written int
	)
	read := func(fd uintptr) bool {
		if buf == nil {
			buf = smallBuffers.Get().(*[smallBuffer]byte)
		}
		for {
			n, errno = rawRead(fd, buf[:])
			if errno != syscall.EINTR {
				break
			}
		}
		if errno == syscall.EAGAIN {
			smallBuffers.Put(buf) // it may take long
			buf = nil
			return false
		}
		return true
	}
	write := func(fd uintptr) bool {
		for written < n {
			var k int
			k, errno = rawWrite(fd, buf[written:n])
			switch errno {
			case 0:
				written += k
			case syscall.EINTR:
			case syscall.EAGAIN:
				c.wait()
				return false
			default:
				return true
			}
		}
		return true
	}
	defer func() {
		if buf != nil {
			smallBuffers.Put(buf)
		}
	}()
	for full := 0; full < fullReads; {
		if err := c.from.Read(read); err != nil {
			return c.ofSource(err)
		}
		if errno != 0 {
			return c.ofSource(os.NewSyscallError("read", errno))
		}
		if n == 0 {
			c.ended = true
			return nil
		}
		written = 0
		err := c.to.Write(write)
		c.stalled.Store(0)
		c.passed(written)
		if err != nil {
			return c.ofDestination(err)
		}
		if errno != 0 {
			return c.ofDestination(os.NewSyscallError("write", errno))
		}
		if n == smallBuffer {
			full++
		} else {
			full = 0
		}
	}
	return nil
}

// wait notes that a write waits from now on.
func (c *copier) wait() {
	if c.stalled.Load() == 0 {
		c.stalled.Store(now())
	}
}

// splice copies through a pipe until the source has ended, or sends little.
func (c *copier) splice() error {
	var (
		p    *pipe
		n    int
		left int
		err  error
	)
	fill := func(fd uintptr) bool {
		if p == nil {
			if p, err = getPipe(); err != nil {
				return true
			}
		}
		n, err = retry(func() (int64, error) {
			return unix.Splice(int(fd), nil, p.w, nil, pipeSize, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		})
		if err == unix.EAGAIN {
			p.put()
			p = nil
			return false
		}
		return true
	}
	empty := func(fd uintptr) bool {
		for left > 0 {
			var k int
			k, err = retry(func() (int64, error) {
				return unix.Splice(p.r, nil, int(fd), nil, left, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			})
			if err == unix.EAGAIN {
				c.wait()
				return false
			}
			if err != nil {
				return true
			}
			left -= k
			c.passed(k)
			spliced.Add(int64(k))
		}
		return true
	}
	defer func() {
		if p != nil && left > 0 {
			p.close() // there are bytes in it
		} else if p != nil {
			p.put()
		}
	}()
	for small := 0; small < smallSplices; {
		if rawErr := c.from.Read(fill); rawErr != nil {
			return c.ofSource(rawErr)
		}
		if p == nil {
			return nil // no pipe is to be had
		}
		if err != nil {
			return c.ofSource(os.NewSyscallError("splice", err))
		}
		if n == 0 {
			c.ended = true
			return nil
		}
		left = n
		rawErr := c.to.Write(empty)
		c.stalled.Store(0)
		if rawErr != nil {
			return c.ofDestination(rawErr)
		}
		if err != nil {
			return c.ofDestination(os.NewSyscallError("splice", err))
		}
		if n <= smallBuffer {
			small++
		} else {
			small = 0
		}
	}
	return nil
}

func retry(f func() (int64, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return int(n), err
		}
	}
}

// rawRead and rawWrite do not tell the scheduler: on a socket that does not
// block they are over sooner than it would have taken notice.

func rawRead(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

func rawWrite(fd uintptr, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	return int(n), errno
}

// A pipe is empty while it waits in pipes.
type pipe struct{ r, w int }

// pipes keeps a few pipes for the next ones who splice.
var pipes = make(chan *pipe, 64)

func getPipe() (*pipe, error) {
	select {
	case p := <-pipes:
		return p, nil
	default:
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, err
	}
	// An unprivileged user may have no more pipes of that size; smaller ones do.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	return &pipe{fds[0], fds[1]}, nil
}

func (p *pipe) put() {
	select {
	case pipes <- p:
	default:
		p.close()
	}
}

func (p *pipe) close() {
	unix.Close(p.r)
	unix.Close(p.w)
}
