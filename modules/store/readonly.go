package store

import (
	"fmt"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// ReadOnlyError is Kong's answer (code 12) to a write of a single entity when
// there is no database. op is the method of the request: POST, PUT, PATCH or
// DELETE; field is the unique field that named the row, empty or "id" for its
// identifier.
func ReadOnlyError(op, table, field string) *schema.Error {
	verb := map[string]string{
		"POST":   "create",
		"PUT":    "create or update",
		"PATCH":  "update",
		"DELETE": "remove",
	}[op]
	by := ""
	if field != "" && field != "id" {
		by = fmt.Sprintf(" by '%s'", field)
	}
	return schema.Unsupported(fmt.Sprintf("cannot %s '%s' entities%s when not using a database", verb, table, by))
}
