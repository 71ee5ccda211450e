package relay

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipeSize is how many bytes fit into a pipe, if the kernel allows it.
const pipeSize = 1 << 20

// spliced counts the bytes that went through pipes.
var spliced atomic.Int64

// Spliced is how many bytes this process has spliced.
func Spliced() int64 { return spliced.Load() }

// ErrNoPipe is that the process or the system has no descriptors left.
var ErrNoPipe = errors.New("no pipe is to be had")

// A Pipe moves bytes from one TCP connection to another inside of the kernel.
// The zero value is ready. It holds a pipe of the system's only while there is
// something in it.
type Pipe struct {
	fds  *pipe // nil: none is held
	left int   // bytes in it
}

// Fill waits for bytes of src, and takes up to n of them. It answers 0 at the end
// of src. What was there before must have been taken out.
func (p *Pipe) Fill(src syscall.RawConn, n int) (got int, err error) {
	rawErr := src.Read(func(fd uintptr) bool {
		if p.fds == nil {
			if p.fds, err = getPipe(); err != nil {
				err = ErrNoPipe
				return true
			}
		}
		got, err = retry(func() (int64, error) {
			return unix.Splice(int(fd), nil, p.fds.w, nil, min(n, pipeSize), unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
		})
		if err == unix.EAGAIN {
			p.fds.put() // it may take long
			p.fds = nil
			return false
		}
		return true
	})
	if rawErr != nil {
		return 0, rawErr
	}
	if err != nil && err != ErrNoPipe {
		err = os.NewSyscallError("splice", err)
	}
	if err != nil {
		return 0, err
	}
	p.left = got
	return got, nil
}

// Empty gives all that is in the pipe to dst. It calls passed with what dst has
// taken, each time, and wait when dst takes nothing for now.
func (p *Pipe) Empty(dst syscall.RawConn, passed func(n int), wait func()) (err error) {
	rawErr := dst.Write(func(fd uintptr) bool {
		for p.left > 0 {
			var n int
			n, err = retry(func() (int64, error) {
				return unix.Splice(p.fds.r, nil, int(fd), nil, p.left, unix.SPLICE_F_NONBLOCK|unix.SPLICE_F_MOVE)
			})
			if err == unix.EAGAIN {
				wait()
				return false
			}
			if err != nil {
				return true
			}
			p.left -= n
			passed(n)
			spliced.Add(int64(n))
		}
		return true
	})
	if rawErr != nil {
		return rawErr
	}
	return os.NewSyscallError("splice", err)
}

// Close gives up what is in the pipe.
func (p *Pipe) Close() {
	switch {
	case p.fds == nil:
	case p.left > 0:
		p.fds.close()
	default:
		p.fds.put()
	}
	p.fds, p.left = nil, 0
}

func retry(f func() (int64, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return int(n), err
		}
	}
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
