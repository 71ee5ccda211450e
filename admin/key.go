package admin

import (
	"net/http"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

var errNoSNI = &refusal{http.StatusNotFound, "SNI not found"}

// locate reads the segment of a URL that names a row of t: an identifier or,
// if it does not look like one, the entity's natural key. Certificates have
// none; they are named by what they serve.
func locate(im *store.Image, t *schema.Table, segment string) (store.Key, error) {
	if id, is := parseID(segment); is {
		return store.Key{ID: id}, nil
	}
	if t.Name == "certificates" {
		return locateBySNI(im, segment)
	}
	if t.Key == "" {
		return store.Key{}, schema.InvalidPrimaryKey()
	}
	if err := t.CheckKey(t.Key, segment); err != nil {
		return store.Key{}, err
	}
	return store.Key{Field: t.Key, Value: segment}, nil
}

func locateBySNI(im *store.Image, name string) (store.Key, error) {
	if err := im.Catalog().Table("snis").CheckKey("name", name); err != nil {
		return store.Key{}, err
	}
	row, found := im.ByKey("snis", "name", name)
	if !found {
		return store.Key{}, errNoSNI
	}
	id, _ := reference(im.Object("snis", row), "certificate")
	return store.Key{ID: id}, nil
}

// parseID reads an identifier in its usual form only, as Kong does. The nil
// UUID identifies no row.
func parseID(s string) (uuid.UUID, bool) {
	if len(s) != 36 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil && id != uuid.Nil
}

// lookup answers the row that a key names, or nil.
func lookup(im *store.Image, table string, by store.Key) *store.Row {
	var row *store.Row
	if by.Field == "" {
		row, _ = im.Get(table, by.ID)
	} else {
		row, _ = im.ByKey(table, by.Field, by.Value)
	}
	return row
}

// find answers the row that a segment of the URL names, with its key; it is
// an error if there is none.
func find(im *store.Image, t *schema.Table, segment string) (*store.Row, store.Key, error) {
	by, err := locate(im, t, segment)
	if err != nil {
		return nil, by, err
	}
	row := lookup(im, t.Name, by)
	if row == nil {
		return nil, by, errNotFound
	}
	return row, by, nil
}

// reference answers the row that the foreign field of an object refers to.
func reference(o schema.Object, field string) (uuid.UUID, bool) {
	ref, _ := o[field].(schema.Object)
	s, _ := ref["id"].(string)
	return parseID(s)
}

// refer is the value of a foreign field.
func refer(id uuid.UUID) schema.Object { return schema.Object{"id": id.String()} }
