package entity

import (
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// DeclarativeID answers the id that Kong gives to an entity of a declarative
// configuration which brings none: the same for the same key, so that loading
// a file twice changes nothing (kong/db/schema/others/declarative_config.lua).
// It is false if the entity has no key to derive one from; then the id is
// random.
//
// The item is as it is in the file: foreign fields are the texts that refer to
// parents, whether ids or names. For an item that is nested in its parent,
// field names the foreign field that the parent stands for, and parent is the
// parent's id; otherwise field is empty.
func DeclarativeID(t *schema.Table, item schema.Object, field string, parent uuid.UUID) (uuid.UUID, bool) {
	key, ok := declarativeKey(t, item, field, parent)
	if !ok {
		return uuid.Nil, false
	}
	return uuid.NewSHA1(namespace(t.Name), []byte(key)), true
}

// anyWorkspace stands for the workspace of an entity that names none.
const anyWorkspace = "*"

func declarativeKey(t *schema.Table, item schema.Object, field string, parent uuid.UUID) (string, bool) {
	if len(t.CacheKey) > 0 {
		return compositeKey(t, item, field, parent)
	}
	key, ok := item[t.Key].(string)
	if !ok || t.Key == "" {
		return "", false
	}
	if t.Field(t.Key).Unique {
		return key, true
	}
	for _, r := range t.References() {
		if r.OnDelete != schema.Cascade {
			continue
		}
		if field != "" {
			key += ":" + parent.String()
		} else {
			name, _ := item[r.Field].(string)
			key += ":" + name
		}
	}
	return key + ":" + anyWorkspace, true
}

func compositeKey(t *schema.Table, item schema.Object, field string, parent uuid.UUID) (string, bool) {
	parts := []string{t.Name, anyWorkspace}
	for _, name := range t.CacheKey {
		f := t.Field(name)
		v, present := item[name]
		switch s, isText := v.(string); {
		case f.Auto != schema.NotAuto:
			return "", false
		case isText:
			parts = append(parts, s)
		case present: // Kong leaves such parts out
		case name == field:
			parts = append(parts, parent.String())
		case f.Required:
			return "", false
		default:
			parts = append(parts, "")
		}
	}
	return strings.Join(parts, ":"), true
}

var namespaces sync.Map // of table names to uuid.UUID

func namespace(table string) uuid.UUID {
	if v, ok := namespaces.Load(table); ok {
		return v.(uuid.UUID)
	}
	id := uuid.NewSHA1(uuid.MustParse("fd02801f-0957-4a15-a55a-c8d9606f30b5"), []byte(table))
	namespaces.Store(table, id)
	return id
}
