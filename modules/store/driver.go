package store

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A Loader yields the content of a store.
type Loader interface {
	// Load calls yield for every row, until yield returns false. The rows of a
	// table come together and, where that costs nothing, in the order of their
	// identifiers. A row keeps its bytes: they may not point into memory that
	// the driver will reuse or unmap.
	//
	// Something that was found but is not a sound row is yielded with a reason
	// in bad; r then carries whatever could be read, at least its ID if the ID
	// is known. It does not end the loading. Rows of tables that this build does
	// not know are yielded as any other.
	//
	// Load blocks while it reads. It returns ctx.Err() if ctx ends first, and
	// any other error only if the store as a whole cannot be read.
	Load(ctx context.Context, yield func(table string, r *Row, bad error) bool) error
}

// A Driver keeps rows in a database. It knows nothing about what is in them:
// constraints, defaults and references are settled by the transaction that
// made the changes.
//
// One goroutine at a time calls Commit and Close. Load may run beside them; it
// then sees the state before or after a commit, never one in between.
//
// A driver whose database is shared by several processes can offer more than
// this interface, found by a type assertion. Nothing here assumes that a
// process is alone; only the order of commits is the caller's.
type Driver interface {
	Loader

	// Commit applies the changes, all of them or none, in the order given. It
	// blocks until they are durable: when it returns nil they survive the
	// death of the process and the loss of power. An error means that nothing
	// was applied. Once ctx has ended Commit may refuse to begin, but having
	// begun it finishes. No changes are no work.
	//
	// Commit does not compare Before with what is stored. It overwrites, and
	// deleting a row that is not there is no error.
	//
	// Errors: ErrClosed, or the database's own.
	Commit(ctx context.Context, changes []Change) error

	// Close waits for a Load that is under way and gives back what Open took.
	// A second Close does nothing.
	Close() error
}

// Counters is what a Driver offers, besides rows, whose database can count.
// Counters are no rows: they are in no image and no export, and nothing reports
// that they changed.
type Counters interface {
	// Count adds to counters, in the order given, and answers what each is
	// then; adding 0 reads, and makes no counter. All are added to, or none.
	//
	// It is meant for few calls with many counters, and may block on the disk
	// or the network until ctx ends. Unlike a commit, it need not be durable
	// when it returns. It may be called by any goroutine, beside all other
	// methods. Errors: ErrClosed, or the database's own.
	Count(ctx context.Context, list []Count) ([]int64, error)
}

// A Count is what is to be added to one counter.
type Count struct {
	Key string
	Add int64

	// Until is when the counter may be forgotten: 0 is then what it is. It is
	// part of the key: who counts in one counter always gives the same, in
	// seconds.
	Until time.Time
}

// A Module is the configuration of a driver: a Caddy module in the namespace
// gateway.stores.
type Module interface {
	// Identity names everything that makes two stores different, such as
	// "bolt:/var/lib/gateway.db". Configurations with the same identity share
	// one open driver. It is valid after Provision and opens nothing.
	Identity() string

	// Name is the store's word in Kong's vocabulary, as the Admin API shows it
	// under configuration.database: "off" for a store without a database.
	Name() string

	// ReadOnly tells whether single entities cannot be written, so that only a
	// whole configuration can take the place of another, as in Kong without a
	// database.
	ReadOnly() bool

	// Open opens the store and leaves it to the caller to close it. It may
	// block on the disk or the network until ctx ends. The catalog tells the
	// tables to stores whose content has to be understood before it is rows.
	// Errors: ErrLocked, ErrNewer, ErrForeign, or the system's own, with the
	// place named.
	Open(ctx context.Context, c *entity.Catalog, logger *zap.Logger) (Driver, error)
}

// A Checker is a Module whose content is part of the configuration, so that it
// can be judged before anything is opened, as by `caddy validate`.
type Checker interface {
	// Check reports what Open would refuse. It may be called after Provision,
	// and keeps nothing.
	Check(c *entity.Catalog) error
}
