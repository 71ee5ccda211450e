package bolt

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

// The layout of the file: a bucket for each table, in it for each row the 16
// bytes of its identifier as key and, as value, four bytes of CRC-32C (big
// endian) before the data. A bucket whose name cannot be a table's holds what
// concerns the file as a whole.
var (
	metaBucket = []byte("@gateway")
	formatKey  = []byte("format")
)

// format is the version of that layout.
const format = 1

const (
	// lockTimeout is how long Open waits for another process to let go of the
	// file, which it does when it is about to end.
	lockTimeout = time.Second

	dirMode  = 0o700
	fileMode = 0o600
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// A Driver is an open file.
type Driver struct {
	path string // set once
	db   *bbolt.DB

	mu     sync.RWMutex // held for reading by Load and Commit
	closed bool         // protected by mu
}

// Open opens the file at path, creating it and its directory if there are
// none. It waits for at most a second while another process holds the file.
//
// Errors: store.ErrLocked, store.ErrNewer, store.ErrForeign, or the system's
// own; all name the path.
func Open(ctx context.Context, path string, logger *zap.Logger) (*Driver, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	_, err := os.Stat(path)
	created := errors.Is(err, fs.ErrNotExist)
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return nil, fmt.Errorf("creating the directory of the store: %w", err)
	}
	timeout := lockTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = max(min(timeout, time.Until(deadline)), time.Millisecond)
	}
	db, err := open(path, &bbolt.Options{
		Timeout:      timeout,
		FreelistType: bbolt.FreelistMapType,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%s is %w", path, store.ErrLocked)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch), errors.Is(err, bolterrors.ErrChecksum):
		return nil, fmt.Errorf("%s: %w (%v)", path, store.ErrForeign, err)
	case err != nil:
		return nil, fmt.Errorf("opening the store %s: %w", path, err)
	}
	d := &Driver{path: path, db: db}
	if err := d.checkFormat(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	if created {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, errors.Join(fmt.Errorf("opening the store %s: %w", path, err), db.Close())
		}
		logger.Info("created the store", zap.String("path", path))
	} else if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		logger.Warn("others than the owner may read the store, which holds private keys",
			zap.String("path", path), zap.String("mode", info.Mode().Perm().String()))
	}
	return d, nil
}

// open is bbolt.Open with its panics, which are how it answers to a damaged
// file, turned into errors.
func open(path string, o *bbolt.Options) (db *bbolt.DB, err error) {
	defer damaged(&err)
	return bbolt.Open(path, fileMode, o)
}

func damaged(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("the file is damaged: %v", p)
	}
}

// checkFormat reads the version of the file's layout, or writes it into an
// empty file.
func (d *Driver) checkFormat() (err error) {
	defer damaged(&err)
	var found string
	empty := true
	err = d.db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket(metaBucket); b != nil {
			found = string(b.Get(formatKey))
		}
		name, _ := tx.Cursor().First()
		empty = name == nil
		return nil
	})
	if err != nil {
		return err
	}
	if empty {
		return d.db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucket(metaBucket)
			if err != nil {
				return err
			}
			return b.Put(formatKey, []byte(strconv.Itoa(format)))
		})
	}
	version, err := strconv.Atoi(found)
	if err != nil || version < 1 {
		return store.ErrForeign
	}
	if version > format {
		return fmt.Errorf("%w: its format is %d, this version knows up to %d", store.ErrNewer, version, format)
	}
	return nil
}

// syncDir makes the name of a new file durable. Windows has no such operation.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}

// Load yields the rows of the file, table by table, in the order of their
// identifiers.
func (d *Driver) Load(ctx context.Context, yield func(table string, r *store.Row, bad error) bool) (err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return store.ErrClosed
	}
	defer damaged(&err)
	return d.db.View(func(tx *bbolt.Tx) error {
		c := tx.Cursor()
		for name, value := c.First(); name != nil; name, value = c.Next() {
			b := tx.Bucket(name)
			if value != nil || b == nil || name[0] == '@' {
				continue
			}
			if more, err := loadTable(ctx, string(name), b, yield); err != nil || !more {
				return err
			}
		}
		return nil
	})
}

func loadTable(ctx context.Context, table string, b *bbolt.Bucket, yield func(string, *store.Row, error) bool) (more bool, err error) {
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		r, bad := decode(k, v)
		if !yield(table, r, bad) {
			return false, nil
		}
	}
	return true, nil
}

// Commit applies the changes in one transaction and returns when the file is
// on the disk. After a disk has failed to sync, what is in the file is known
// only when it is opened again.
func (d *Driver) Commit(ctx context.Context, changes []store.Change) (err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return store.ErrClosed
	}
	if err := ctx.Err(); err != nil || len(changes) == 0 {
		return err
	}
	// Within a transaction bbolt keeps a page's rows in one sorted list however
	// long it grows: many rows in no order would cost the square of their
	// number. The order of different rows makes no difference here.
	changes = slices.Clone(changes)
	slices.SortStableFunc(changes, func(a, b store.Change) int {
		x, y := a.ID(), b.ID()
		return cmp.Or(strings.Compare(a.Table, b.Table), bytes.Compare(x[:], y[:]))
	})
	defer damaged(&err)
	return d.db.Update(func(tx *bbolt.Tx) error {
		for _, c := range changes {
			if err := apply(tx, c); err != nil {
				return fmt.Errorf("%s %s: %w", c.Table, c.ID(), err)
			}
		}
		return nil
	})
}

func apply(tx *bbolt.Tx, c store.Change) error {
	b, err := tx.CreateBucketIfNotExists([]byte(c.Table))
	if err != nil {
		return err
	}
	id := c.ID()
	if c.After == nil {
		return b.Delete(id[:])
	}
	return b.Put(id[:], encode(c.After))
}

// Close waits for what is under way and releases the file.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return d.db.Close()
}

func encode(r *store.Row) []byte {
	v := make([]byte, 4, 4+len(r.Data))
	binary.BigEndian.PutUint32(v, crc32.Checksum(r.Data, castagnoli))
	return append(v, r.Data...)
}

// decode copies a row out of the file's memory.
func decode(k, v []byte) (*store.Row, error) {
	r := new(store.Row)
	if len(k) != len(r.ID) {
		return r, fmt.Errorf("the key %x is not an identifier", k)
	}
	copy(r.ID[:], k)
	if len(v) < 4 {
		return r, errors.New("the data is missing")
	}
	r.Data = append([]byte(nil), v[4:]...)
	if crc32.Checksum(r.Data, castagnoli) != binary.BigEndian.Uint32(v) {
		return r, errors.New("the data does not match its checksum")
	}
	return r, nil
}

// Interface guards
var _ store.Driver = (*Driver)(nil)
