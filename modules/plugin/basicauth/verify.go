package basicauth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

// Credential is the typed view of a row of the table basicauth_credentials. A
// row that changes gets a new one, so what it remembers is never of an old
// password.
type Credential struct {
	ID       uuid.UUID  `json:"id"`
	Consumer entity.Ref `json:"consumer"`
	Username string     `json:"username"`
	Password string     `json:"password"` // see hash

	shown  plugin.Credential
	passed atomic.Pointer[digest] // the password, once it was shown
	failed atomic.Pointer[digest] // the last one that was not it
}

// UnmarshalJSON reads the row, and prepares what requests are told of it.
func (c *Credential) UnmarshalJSON(data []byte) error {
	type row Credential
	if err := json.Unmarshal(data, (*row)(c)); err != nil {
		return err
	}
	c.shown = plugin.Credential{ID: c.ID, ConsumerID: c.Consumer.ID, Identifier: c.Username}
	return nil
}

// A digest stands for a password in memory. Its key is known to this process
// only, so that it says nothing elsewhere. Nobody gets to see one, so none can be
// made longer, which is what else would speak for HMAC.
type digest [sha256.Size]byte

var key = func() (k [sha256.Size]byte) {
	_, _ = rand.Read(k[:]) // never fails
	return k
}()

func digestOf(password string) digest {
	var space [128]byte
	return sha256.Sum256(append(append(space[:0], key[:]...), password...))
}

// slots bound the slow checks that run at a time, to half of the processors, so
// that guessing passwords leaves room for those who know theirs.
var slots = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))

// verify reports whether the password is the credential's. Only what was not
// shown last is checked slowly. The error is that of the context.
func (c *Credential) verify(ctx context.Context, password string) (bool, error) {
	d := digestOf(password)
	if known, ok := c.remembered(&d); known {
		return ok, nil
	}
	return c.check(ctx, password, d)
}

// check does it slowly, and remembers the outcome.
func (c *Credential) check(ctx context.Context, password string, d digest) (bool, error) {
	select {
	case slots <- struct{}{}:
		defer func() { <-slots }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if known, ok := c.remembered(&d); known { // while this one waited
		return ok, nil
	}
	h, err := parse(c.Password)
	if err != nil {
		return false, err
	}
	if !h.matches(password, c.Consumer.ID.String()) {
		c.failed.Store(&d)
		return false, nil
	}
	c.passed.Store(&d)
	return true, nil
}

func (c *Credential) remembered(d *digest) (known, ok bool) {
	if p := c.passed.Load(); p != nil && hmac.Equal(p[:], d[:]) {
		return true, true
	}
	if p := c.failed.Load(); p != nil && hmac.Equal(p[:], d[:]) {
		return true, false
	}
	return false, false
}

// nobody is checked in the place of users who are not there, so that the time of
// an answer does not tell that they are not.
var nobody = sync.OnceValue(func() *Credential {
	return &Credential{Password: seal(rand.Text(), "")}
})
