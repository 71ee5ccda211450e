package store

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Rows of tables with a lifetime are gone when their time is over: images do not
// show them from that second on, whoever looks, and transactions take them out of
// the store by and by.

// mortal notes when the row is gone, and answers the key under which the index of
// lifetimes has it. Keys are in the order of time.
func (r *Row) mortal(text string) (string, error) {
	at, err := strconv.ParseInt(text, 10, 64)
	if err != nil || at <= 0 {
		return "", errKind
	}
	if r.gone != at { // the row is new: others see it later
		r.gone = at
	}
	return lifetimeKey(at), nil
}

func lifetimeKey(at int64) string { return fmt.Sprintf("%019d", at) }

// alive reports whether the row is there. Most have no end, and need no clock.
func (r *Row) alive() bool { return r.gone == 0 || r.gone > time.Now().Unix() }

// NextEnd answers when the next row is gone, which may have been already; false:
// all stay.
func (im *Image) NextEnd() (at time.Time, some bool) {
	for i, s := range im.layout.shapes {
		if s.lifetime < 0 {
			continue
		}
		if e, ok := im.tables[i].indexes[s.lifetime].Min(); ok {
			if t := time.Unix(e.row.gone, 0); !some || t.Before(at) {
				at, some = t, true
			}
		}
	}
	return at, some
}

// Bury deletes rows whose time is over, with all rows that go with them, and at
// most as many of each table. A row to which one refers that stays is left; nobody
// sees it.
func (tx *Tx) Bury(now time.Time, most int) error {
	for i, s := range tx.image.layout.shapes {
		if s.lifetime < 0 {
			continue
		}
		var over []*Row
		tx.image.tables[i].indexes[s.lifetime].Scan(func(e entry) bool {
			if e.row.gone > now.Unix() || len(over) == most {
				return false
			}
			over = append(over, e.row)
			return true
		})
		for _, r := range over {
			if tx.table(s).get(r.ID) == nil {
				continue // it went with another
			}
			var refused *schema.Error
			if err := tx.deleteRow(s, r); err != nil && !errors.As(err, &refused) {
				return err
			}
		}
	}
	return nil
}
