package bolt

import (
	"context"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

// countersBucket holds counters: the second at which each may be forgotten (8
// bytes, big endian) and its key, and as value 8 bytes. So those that are over
// stand at the beginning.
var countersBucket = []byte("@counters")

// forgetAtOnce bounds how many counters that are over one call removes.
const forgetAtOnce = 10_000

// Count adds to counters in one transaction. What was forgotten goes with it.
func (d *Driver) Count(ctx context.Context, list []store.Count) (totals []int64, err error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, store.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	defer damaged(&err)
	totals = make([]int64, len(list))
	reads := true
	for _, c := range list {
		reads = reads && c.Add == 0
	}
	if reads {
		return totals, d.db.View(func(tx *bbolt.Tx) error {
			if b := tx.Bucket(countersBucket); b != nil {
				for i, c := range list {
					totals[i] = counted(b.Get(counterKey(c)))
				}
			}
			return nil
		})
	}
	return totals, d.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(countersBucket)
		if err != nil {
			return err
		}
		if err := forget(b, time.Now()); err != nil {
			return err
		}
		for i, c := range list {
			k := counterKey(c)
			totals[i] = counted(b.Get(k)) + c.Add
			if c.Add == 0 {
				continue
			}
			if err := b.Put(k, binary.BigEndian.AppendUint64(nil, uint64(totals[i]))); err != nil {
				return err
			}
		}
		return nil
	})
}

// forget removes counters that are over.
func forget(b *bbolt.Bucket, now time.Time) error {
	c := b.Cursor()
	n := 0
	for k, _ := c.First(); k != nil && n < forgetAtOnce; k, _ = c.First() {
		if len(k) >= 8 && int64(binary.BigEndian.Uint64(k)) > now.Unix() {
			break
		}
		if err := c.Delete(); err != nil {
			return err
		}
		n++
	}
	return nil
}

func counterKey(c store.Count) []byte {
	k := make([]byte, 0, 8+len(c.Key))
	return append(binary.BigEndian.AppendUint64(k, uint64(c.Until.Unix())), c.Key...)
}

func counted(v []byte) int64 {
	if len(v) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(v))
}

// Interface guard
var _ store.Counters = (*Driver)(nil)
