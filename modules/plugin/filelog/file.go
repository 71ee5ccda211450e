package filelog

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/queue"
)

// A file is the one writer of a path in this process. What it is told comes out
// as lines, each of them whole: several lines are one write to a file that was
// opened for appending, so other processes may write to it, too.
type file struct {
	path  string
	queue *queue.Queue

	// fresh says that the path is to be looked at before the next write.
	fresh atomic.Bool

	// The rest belongs to the goroutine of the queue.
	open   *os.File // nil: it is not
	lines  []byte
	broken bool // the last write ended within a line
}

var files = caddy.NewUsagePool() // by path

// hold answers the writer of a path. Drop must follow.
func hold(path string) *file {
	v, _, _ := files.LoadOrNew(path, func() (caddy.Destructor, error) {
		f := &file{path: path}
		f.queue = queue.New("file-log", queue.Settings{
			MaxBatchSize: 1000, MaxEntries: 10000, MaxBytes: 16 << 20,
			MaxRetryTime: 1, InitialRetryDelay: 0.1, MaxRetryDelay: 1, ConcurrencyLimit: 1,
		}, f.write)
		return f, nil
	})
	return v.(*file)
}

func drop(path string) error {
	_, err := files.Delete(path)
	return err
}

// use has the file looked at anew, since a configuration was loaded, and its
// logger complain.
func (f *file) use(logger *zap.Logger) {
	f.queue.Use(logger.With(zap.String("path", f.path)))
	f.fresh.Store(true)
}

func (f *file) add(entry []byte, reopen bool) {
	if reopen {
		f.fresh.Store(true)
	}
	f.queue.Add(append(entry, '\n'))
}

// write appends a batch. Lines that were written are taken out of it, so that
// they are not written again with those that were not.
func (f *file) write(_ context.Context, batch [][]byte) error {
	if err := f.ready(); err != nil {
		return err
	}
	if f.lines = f.lines[:0]; cap(f.lines) > 1<<20 {
		f.lines = nil
	}
	mended := 0
	if f.broken {
		f.lines, mended = append(f.lines, '\n'), 1
	}
	for _, line := range batch {
		f.lines = append(f.lines, line...)
	}
	n, err := f.open.Write(f.lines)
	if n > 0 {
		f.broken = f.lines[n-1] != '\n'
	}
	n -= mended
	if err == nil {
		return nil
	}
	f.fresh.Store(true)
	for i, line := range batch {
		if n -= len(line); n < 0 {
			break
		}
		batch[i] = nil
	}
	return err
}

// ready opens the file if it is not open, or no longer the one that the path
// names.
func (f *file) ready() error {
	if fresh := f.fresh.Swap(false); f.open != nil && (!fresh || f.same()) {
		return nil
	}
	f.close()
	var err error
	if f.open, err = os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		f.open = nil
		return fmt.Errorf("failed to open the file: %w", err)
	}
	f.broken = false
	return nil
}

func (f *file) same() bool {
	now, err := os.Stat(f.path)
	if err != nil {
		return false
	}
	before, err := f.open.Stat()
	return err == nil && os.SameFile(now, before)
}

func (f *file) close() {
	if f.open != nil {
		f.open.Close()
		f.open = nil
	}
}

// Destruct lets the queue write what it has.
func (f *file) Destruct() error {
	f.queue.Close(f.close)
	return nil
}

// Interface guard
var _ caddy.Destructor = (*file)(nil)
