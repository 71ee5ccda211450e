package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

// A page is the body of a list.
type page struct {
	Data   []json.RawMessage `json:"data"`
	Next   *string           `json:"next"`
	Offset string            `json:"offset,omitempty"`
}

// pageSize reads the query's size.
func (c *call) pageSize() (int, error) {
	text, n := c.query.get("size")
	if n == 0 {
		return defaultPageSize, nil
	}
	size, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	switch {
	case err != nil || n > 1:
		return 0, schema.InvalidSize("size must be a number")
	case size != math.Trunc(size) || size < 1 || size > maxPageSize:
		return 0, schema.InvalidSize("size must be an integer between 1 and " + strconv.Itoa(maxPageSize))
	}
	return int(size), nil
}

// encodeOffset makes the opaque text that names the last row of a page.
func encodeOffset(id store.ID) string {
	return base64.RawStdEncoding.EncodeToString([]byte(`["` + id.String() + `"]`))
}

// offset reads the query's offset: the row behind which the page begins.
func (c *call) offset() (store.ID, error) {
	text, n := c.query.get("offset")
	if n == 0 {
		return store.ID{}, nil
	}
	raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return store.ID{}, schema.InvalidOffset(text)
	}
	var key []string
	if json.Unmarshal(raw, &key) == nil && len(key) == 1 {
		if id, is := parseID(key[0]); is {
			return id, nil
		}
	}
	return store.ID{}, schema.InvalidOffset(text)
}

// An ascent yields the rows of a list in the order of their identifiers,
// beginning behind after. It may stop once it has yielded limit of them.
type ascent func(after store.ID, limit int, yield func(*store.Row) bool)

// list answers one page of rows. Next is the path of the list; more is what
// else its query must say.
func (c *call) list(im *store.Image, t *schema.Table, rows ascent, next, more string) (*answer, error) {
	size, err := c.pageSize()
	if err != nil {
		return nil, err
	}
	after, err := c.offset()
	if err != nil {
		return nil, err
	}
	p := page{Data: []json.RawMessage{}}
	var last store.ID
	rows(after, size+1, func(r *store.Row) bool {
		if len(p.Data) == size {
			p.Offset = encodeOffset(last)
			url := next + "?offset=" + escape(p.Offset) + more
			p.Next = &url
			return false
		}
		p.Data = append(p.Data, show(im, t, r))
		last = r.ID
		return true
	})
	return reply(200, p)
}

// show writes a row as clients see it.
func show(im *store.Image, t *schema.Table, r *store.Row) json.RawMessage {
	return t.Marshal(im.Object(t.Name, r))
}

// A tagFilter picks the rows that bear all of some tags, or any of them.
type tagFilter struct {
	tags []string
	any  bool
}

// tagFilter reads the query's tags: "a,b" asks for both, "a/b" for either.
func (c *call) tagFilter(t *schema.Table) (*tagFilter, error) {
	text, n := c.query.get("tags")
	if n == 0 || t.Field("tags") == nil {
		return nil, nil
	}
	refuse := func(message string) (*tagFilter, error) {
		return nil, schema.InvalidOptions("tags", message)
	}
	if text == "" {
		return refuse("cannot be null")
	}
	separator, any := ",", false
	if strings.Contains(text, "/") {
		separator, any = "/", true
	}
	// A separator may stand at the end, but nowhere else without a tag.
	tags := strings.Split(strings.TrimSuffix(text, separator), separator)
	for _, tag := range tags {
		if tag == "" || strings.ContainsAny(tag, ",/") || strings.ContainsFunc(tag, isControl) {
			return refuse("invalid filter syntax")
		}
	}
	if len(tags) > 5 {
		return refuse("cannot query more than 5 tags")
	}
	return &tagFilter{tags, any}, nil
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// ascend yields the rows of a table that the filter picks; see ascent.
func (f *tagFilter) ascend(im *store.Image, table string, after store.ID, limit int, yield func(*store.Row) bool) {
	if !f.any {
		im.AscendTag(table, f.tags[0], after, func(r *store.Row) bool {
			return !f.bears(r) || yield(r)
		})
		return
	}
	// The first rows of the union are among the first of each.
	var rows []*store.Row
	for _, tag := range f.tags {
		n := 0
		im.AscendTag(table, tag, after, func(r *store.Row) bool {
			rows = append(rows, r)
			n++
			return n < limit
		})
	}
	slices.SortFunc(rows, func(a, b *store.Row) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	for _, r := range slices.Compact(rows) {
		if !yield(r) {
			return
		}
	}
}

// bears reports whether a row has all tags behind the first.
func (f *tagFilter) bears(r *store.Row) bool {
	if len(f.tags) == 1 {
		return true
	}
	var row struct {
		Tags []string `json:"tags"`
	}
	if json.Unmarshal(r.Data, &row) != nil {
		return false
	}
	for _, tag := range f.tags[1:] {
		if !slices.Contains(row.Tags, tag) {
			return false
		}
	}
	return true
}
