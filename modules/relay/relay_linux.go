package relay

import (
	"net"
	"os"
	"sync"
	"syscall"
	"unsafe"
)

// Between two TCP connections bytes are copied by whichever way is the cheaper:
// what comes in small pieces is read and written; as soon as more comes than a
// buffer takes, it is spliced, which moves pages inside of the kernel and never
// brings them here. Neither way holds memory or a pipe while nothing comes.
const (
	smallBuffer  = 16 << 10
	fullReads    = 2  // so many full buffers in a row begin the splicing
	smallSplices = 16 // so many pieces in a row that a buffer takes end it
)

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
	var p Pipe
	defer p.Close()
	for small := 0; small < smallSplices; {
		n, err := p.Fill(c.from, pipeSize)
		if err == ErrNoPipe {
			return nil
		}
		if err != nil {
			return c.ofSource(err)
		}
		if n == 0 {
			c.ended = true
			return nil
		}
		err = p.Empty(c.to, c.passed, c.wait)
		c.stalled.Store(0)
		if err != nil {
			return c.ofDestination(err)
		}
		if n <= smallBuffer {
			small++
		} else {
			small = 0
		}
	}
	return nil
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
