package admin

import (
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
	return c.listTags("/tags", more, im.Tags)
}

// oneTag lists the rows that bear a tag.
func oneTag(c *call) (*answer, error) {
	tag := c.params[0]
	if err := tagTable(c.world.Catalog()).CheckKey("tag", tag); err != nil {
		return nil, err
	}
	im := c.world.View().Image
	return c.listTags("/tags/"+escape(tag), "", func(after store.Tagging, yield func(store.Tagging) bool) {
		more := true
		for _, t := range c.world.Catalog().Tables() {
			if after.Table != "" && after.Table != t.Name {
				continue
			}
			im.AscendTag(t.Name, tag, after.ID, func(r *store.Row) bool {
				more = yield(store.Tagging{Table: t.Name, Tag: tag, ID: r.ID})
				return more
			})
			if !more {
				return
			}
			after = store.Tagging{}
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
// the tables, then of tags and identifiers, beginning behind one of them. The
// offset is the last one of the page before.
func (c *call) listTags(next, more string, each func(after store.Tagging, yield func(store.Tagging) bool)) (*answer, error) {
	size, err := c.pageSize()
	if err != nil {
		return nil, err
	}
	var after store.Tagging
	if text, n := c.query.get("offset"); n > 0 {
		if after, err = c.tagOffset(text); err != nil {
			return nil, err
		}
	}
	p := taggings{Data: []tagging{}}
	each(after, func(t store.Tagging) bool {
		if len(p.Data) == size {
			last, _ := json.Marshal(p.Data[size-1])
			p.Offset = base64.RawStdEncoding.EncodeToString(last)
			url := next + "?offset=" + escape(p.Offset) + more
			p.Next = &url
			return false
		}
		p.Data = append(p.Data, tagging{t.Table, t.ID.String(), t.Tag})
		return true
	})
	return reply(http.StatusOK, p)
}

// tagOffset reads what listTags wrote.
func (c *call) tagOffset(text string) (store.Tagging, error) {
	var t tagging
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || json.Unmarshal(raw, &t) != nil {
		return store.Tagging{}, schema.InvalidOffset(text)
	}
	id, is := parseID(t.ID)
	if !is || c.world.Catalog().Table(t.Entity) == nil {
		return store.Tagging{}, schema.InvalidOffset(text)
	}
	return store.Tagging{Table: t.Entity, Tag: t.Tag, ID: id}, nil
}
