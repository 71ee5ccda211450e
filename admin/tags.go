package admin

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/http"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// A tagging is one item of the lists of tags.
type tagging struct {
	Entity string `json:"entity_name"`
	ID     string `json:"entity_id"`
	Tag    string `json:"tag"`
}

type taggings struct {
	Data   []tagging `json:"data"`
	Next   *string   `json:"next"`
	Offset string    `json:"offset,omitempty"`
}

// allTags lists every tag of every row.
func allTags(c *call) (*answer, error) {
	more := ""
	if size, n := c.query.get("size"); n > 0 {
		more = "&size=" + escape(size)
	}
	im := c.world.View().Image
	return c.listTags("/tags", more, func(yield func(tagging) bool) {
		im.Tags(func(table string, id store.ID, tag string) bool {
			return yield(tagging{table, id.String(), tag})
		})
	})
}

// oneTag lists the rows that bear a tag.
func oneTag(c *call) (*answer, error) {
	tag := c.params[0]
	if err := tagTable(c.world.Catalog()).CheckKey("tag", tag); err != nil {
		return nil, err
	}
	im := c.world.View().Image
	return c.listTags("/tags/"+escape(tag), "", func(yield func(tagging) bool) {
		more := true
		for _, t := range c.world.Catalog().Tables() {
			im.AscendTag(t.Name, tag, store.ID{}, func(r *store.Row) bool {
				more = yield(tagging{t.Name, r.ID.String(), tag})
				return more
			})
			if !more {
				return
			}
		}
	})
}

// tagTable describes the items of the lists of tags. Nothing is stored in it.
func tagTable(catalog *entity.Catalog) *schema.Table {
	fields := []schema.Field{
		{Name: "tag", Kind: schema.String},
		{Name: "entity_name", Kind: schema.String, Required: true},
		{Name: "entity_id", Kind: schema.String, Required: true, UUID: true},
	}
	for _, t := range catalog.Tables() {
		if f := t.Field("tags"); f != nil {
			fields[0] = *f.Elem
			fields[0].Name = "tag"
			break
		}
	}
	return &schema.Table{Name: "tags", Key: "tag", Fields: &schema.Fields{List: fields}}
}

// listTags answers one page of taggings, which each yields in the order of
// the tables, then of tags and identifiers. The offset is the last one of the
// page before.
func (c *call) listTags(next, more string, each func(func(tagging) bool)) (*answer, error) {
	size, err := c.pageSize()
	if err != nil {
		return nil, err
	}
	var after *tagging
	if text, n := c.query.get("offset"); n > 0 {
		raw, err := base64.RawStdEncoding.DecodeString(text)
		if err != nil || json.Unmarshal(raw, &after) != nil || after == nil {
			return nil, schema.InvalidOffset(text)
		}
	}
	position := make(map[string]int)
	for i, t := range c.world.Catalog().Tables() {
		position[t.Name] = i
	}
	compare := func(a, b tagging) int {
		return cmp.Or(position[a.Entity]-position[b.Entity], cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.ID, b.ID))
	}
	p := taggings{Data: []tagging{}}
	each(func(t tagging) bool {
		switch {
		case after != nil && compare(t, *after) <= 0:
			return true
		case len(p.Data) == size:
			last, _ := json.Marshal(p.Data[size-1])
			p.Offset = base64.RawStdEncoding.EncodeToString(last)
			url := next + "?offset=" + escape(p.Offset) + more
			p.Next = &url
			return false
		}
		p.Data = append(p.Data, t)
		return true
	})
	return reply(http.StatusOK, p)
}
