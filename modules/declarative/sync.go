package declarative

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// SyncOptions say how far Sync goes.
type SyncOptions struct {
	// Prune removes the rows that the document does not name.
	Prune bool

	// Progress, if set, is called now and then with the number of rows that
	// were compared and written.
	Progress func(done, total int)
}

// A Summary counts rows by table. Tables without any are left out.
type Summary struct {
	Created   map[string]int `json:"created"`
	Updated   map[string]int `json:"updated"`
	Removed   map[string]int `json:"removed"`
	Unchanged map[string]int `json:"unchanged"`
}

// Sync brings the store in line with the rows of a document.
//
// A row of the document stands for the existing row with the same id, or else
// with the same natural key, another unique field, or the same fields that are
// unique together; a certificate without an id also for the one that serves the
// same name. The existing row then keeps its id, the time of its creation and
// what else the gateway once filled in, and it is not written if nothing
// changes by it.
//
// What the store refuses is collected in an *Errors, with the lines; the
// transaction is then of no more use.
func Sync(tx *store.Tx, rows []Row, opt SyncOptions) (Summary, error) {
	return newSyncer(tx, rows, opt).run(true)
}

// Replace makes the rows the whole content of the store, as Kong does without
// a database. Only rows with the same id stand for each other.
func Replace(tx *store.Tx, rows []Row, progress func(done, total int)) (Summary, error) {
	return newSyncer(tx, rows, SyncOptions{Prune: true, Progress: progress}).run(false)
}

type syncer struct {
	tx    *store.Tx
	image *store.Image // as it was before
	opt   SyncOptions
	rows  []Row

	pairs  []*store.Row                    // as rows: the existing row that each stands for, or nil
	named  map[string]map[store.ID]bool    // by table: the existing rows in pairs
	moved  map[string]map[uuid.UUID]string // by table: ids of the document that gave way to an existing one
	later  []pending
	sum    Summary
	errors Errors
}

// pending is a row that could not be written at its turn.
type pending struct {
	row    int // in rows
	object schema.Object
}

func newSyncer(tx *store.Tx, rows []Row, opt SyncOptions) *syncer {
	return &syncer{
		tx:    tx,
		image: tx.Image(),
		opt:   opt,
		rows:  rows,
		pairs: make([]*store.Row, len(rows)),
		named: map[string]map[store.ID]bool{},
		moved: map[string]map[uuid.UUID]string{},
		sum:   Summary{map[string]int{}, map[string]int{}, map[string]int{}, map[string]int{}},
	}
}

func (s *syncer) run(byKeys bool) (Summary, error) {
	for i, row := range s.rows {
		if r, ok := s.image.Get(row.Table, row.ID); ok {
			s.pair(i, r)
		}
	}
	var names map[uuid.UUID]string
	if byKeys {
		names = s.serverNames()
	}
	for i := range s.rows {
		if s.opt.Progress != nil && i&1023 == 0 {
			s.opt.Progress(i, len(s.rows))
		}
		t := s.table(i)
		object := s.follow(t, s.rows[i].Object)
		if byKeys && s.pairs[i] == nil {
			if r := s.find(t, object, names[s.rows[i].ID]); r != nil && !s.named[t.Name][r.ID] {
				s.pair(i, r)
			}
		}
		if err := s.write(t, i, object); err != nil {
			return Summary{}, err
		}
	}
	var unnamed []placed
	if s.opt.Prune {
		unnamed = s.unnamed()
	}
	if err := s.retry(unnamed); err != nil {
		return Summary{}, err
	}
	if err := s.remove(unnamed); err != nil {
		return Summary{}, err
	}
	if s.opt.Progress != nil {
		s.opt.Progress(len(s.rows), len(s.rows))
	}
	if s.errors.sort(); len(s.errors.Problems) > 0 {
		return Summary{}, &s.errors
	}
	return s.sum, nil
}

func (s *syncer) table(i int) *schema.Table { return s.image.Catalog().Table(s.rows[i].Table) }

// pair notes that a row of the document stands for an existing one.
func (s *syncer) pair(i int, r *store.Row) {
	table := s.rows[i].Table
	if s.named[table] == nil {
		s.named[table] = map[store.ID]bool{}
		s.moved[table] = map[uuid.UUID]string{}
	}
	s.pairs[i] = r
	s.named[table][r.ID] = true
	if r.ID != s.rows[i].ID {
		s.moved[table][s.rows[i].ID] = r.ID.String()
	}
}

// serverNames answers a name that each certificate of the document serves, if
// the document gives it no id: there is nothing else to know it by.
func (s *syncer) serverNames() map[uuid.UUID]string {
	names := map[uuid.UUID]string{}
	for _, row := range s.rows {
		if row.Table == "snis" && row.at.parent != nil && !row.at.parent.named {
			names[row.at.parent.id], _ = row.Object["name"].(string)
		}
	}
	return names
}

// find answers the existing row that an object of the document stands for,
// though it has another id; nil if there is none.
func (s *syncer) find(t *schema.Table, o schema.Object, serverName string) *store.Row {
	uniques := t.Uniques()
	if i := slices.Index(uniques, t.Key); i > 0 { // the natural key first
		uniques[0], uniques[i] = uniques[i], uniques[0]
	}
	for _, field := range uniques {
		if o[field] != nil {
			if r, ok := s.image.ByKey(t.Name, field, schema.KeyText(o[field])); ok {
				return r
			}
		}
	}
	if r, ok := s.image.ByCacheKey(t.Name, o); ok {
		return r
	}
	if serverName != "" {
		if sni, ok := s.image.ByKey("snis", "name", serverName); ok {
			owner, err := uuid.Parse(schema.KeyText(s.image.Object("snis", sni)["certificate"]))
			if r, ok := s.image.Get(t.Name, owner); ok && err == nil {
				return r
			}
		}
	}
	return nil
}

// follow answers the object with its references changed to the rows that are
// kept under another id.
func (s *syncer) follow(t *schema.Table, o schema.Object) schema.Object {
	copied := false
	set := func(field string, v any) {
		if !copied {
			o, copied = maps.Clone(o), true
		}
		o[field] = v
	}
	for _, ref := range t.References() {
		if len(s.moved[ref.Table]) > 0 && o[ref.Field] != nil {
			if to, moved := s.target(ref.Table, schema.KeyText(o[ref.Field])); moved {
				set(ref.Field, schema.Object{"id": to})
			}
		}
	}
	if len(s.moved[authorities]) == 0 {
		return o
	}
	if list, ok := o[authorities].([]any); ok {
		set(authorities, s.targets(list))
	}
	if config, ok := o["config"].(schema.Object); ok {
		if list, ok := config[authorities].([]any); ok {
			config = maps.Clone(config)
			config[authorities] = s.targets(list)
			set("config", config)
		}
	}
	return o
}

// authorities is the table of CA certificates, and the field of services and of
// plugins' configurations that lists ids of its rows without a foreign key.
const authorities = "ca_certificates"

// target answers the id under which a row of the document is kept, and whether
// it is another one.
func (s *syncer) target(table, id string) (string, bool) {
	parsed, err := uuid.Parse(id)
	to := s.moved[table][parsed]
	return to, err == nil && to != ""
}

func (s *syncer) targets(ids []any) []any {
	list := slices.Clone(ids)
	for i, id := range list {
		if to, moved := s.target(authorities, schema.KeyText(id)); moved {
			list[i] = to
		}
	}
	return list
}

// write stores one row of the document.
func (s *syncer) write(t *schema.Table, i int, o schema.Object) error {
	if existing := s.pairs[i]; existing != nil {
		o = maps.Clone(o)
		o["id"] = existing.ID.String()
		was := stored(existing)
		o = t.Seal(o, func(field string) any {
			if n := was.get(field); n != nil {
				return n.value
			}
			return nil
		})
		for _, field := range s.rows[i].fresh {
			if n := was.get(field); n != nil {
				o[field] = n.value
			}
		}
		if same(t, o, was, existing.Data) {
			s.sum.Unchanged[t.Name]++
			return nil
		}
	} else if over(t, o) {
		return nil
	}
	err := s.tx.Put(t.Name, o)
	var refused *schema.Error
	switch {
	case err == nil:
		s.count(t, i)
	case errors.As(err, &refused):
		s.later = append(s.later, pending{i, o})
	default:
		return err
	}
	return nil
}

// over reports whether nobody would see the row any more.
func over(t *schema.Table, o schema.Object) bool {
	f := t.Lifetime()
	if f == nil {
		return false
	}
	end, ends := o[f.Name].(schema.Moment)
	return ends && int64(end) <= time.Now().Unix()
}

// stored reads the top level of an existing row. One that cannot be read has
// nothing to keep.
func stored(r *store.Row) members {
	n, _ := parseJSON(string(r.Data), func(int, string, ...any) {})
	m, _ := n.value.(members)
	return m
}

// same tells whether a row would not change, but for the time of its change.
func same(t *schema.Table, o schema.Object, was members, data []byte) bool {
	for i := range t.Fields.List {
		f := &t.Fields.List[i]
		if n := was.get(f.Name); f.Auto == schema.AutoUpdate && n != nil {
			now := o[f.Name]
			o[f.Name] = n.value
			defer func() { o[f.Name] = now }()
		}
	}
	return bytes.Equal(t.Pack(o), data)
}

func (s *syncer) count(t *schema.Table, i int) {
	if s.pairs[i] == nil {
		s.sum.Created[t.Name]++
	} else {
		s.sum.Updated[t.Name]++
	}
}

// retry writes the rows that others stood in the way of, such as two that
// exchange their names. Everything that is going to be overwritten or removed
// steps aside first, so what is refused now is refused for good.
func (s *syncer) retry(unnamed []placed) error {
	if len(s.later) == 0 {
		return nil
	}
	for _, p := range unnamed {
		if err := s.aside(p.table, p.row); err != nil {
			return err
		}
	}
	for _, p := range s.later {
		if r := s.pairs[p.row]; r != nil {
			if err := s.aside(s.table(p.row), r); err != nil {
				return err
			}
		}
	}
	for _, p := range s.later {
		t := s.table(p.row)
		err := s.tx.Put(t.Name, p.object)
		var refused *schema.Error
		switch {
		case err == nil:
			s.count(t, p.row)
		case errors.As(err, &refused):
			s.errors.entity(s.rows[p.row].at, ofEntity, nil, refused.Message)
		default:
			return err
		}
	}
	return nil
}

// aside gives an existing row values that no other row has, for the rest of
// the transaction.
func (s *syncer) aside(t *schema.Table, r *store.Row) error {
	o, err := t.Unpack(r.Data)
	if err != nil {
		return nil // it is in no index
	}
	fields := t.Uniques()
	for _, field := range t.CacheKey {
		if t.Field(field).Kind == schema.String {
			fields = append(fields, field)
		}
	}
	for _, field := range fields {
		if _, text := o[field].(string); text {
			o[field] = r.ID.String()
		}
	}
	return s.tx.Put(t.Name, o)
}

// placed is an existing row and its table.
type placed struct {
	table *schema.Table
	row   *store.Row
}

// unnamed lists the existing rows that the document does not name, children
// before parents.
func (s *syncer) unnamed() []placed {
	var list []placed
	for _, t := range slices.Backward(s.image.Catalog().Tables()) {
		s.image.Ascend(t.Name, store.ID{}, func(r *store.Row) bool {
			if !s.named[t.Name][r.ID] {
				list = append(list, placed{t, r})
			}
			return true
		})
	}
	return list
}

// remove deletes rows, which are in an order in which none refers to one before.
func (s *syncer) remove(list []placed) error {
	for _, p := range list {
		_, err := s.tx.Delete(p.table.Name, store.Key{ID: p.row.ID})
		var refused *schema.Error
		switch {
		case err == nil:
			s.sum.Removed[p.table.Name]++
		case errors.As(err, &refused):
			s.errors.addf(0, "%s %s cannot be removed: %s", singular(p.table.Name), p.row.ID, refused.Message)
		default:
			return err
		}
	}
	return nil
}
