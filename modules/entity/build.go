package entity

import "github.com/portcullis-gateway/portcullis/modules/schema"

// What plugins build their tables and configurations of, besides schema's own
// words (kong/db/schema/typedefs.lua).

// Credential makes the table of what consumers show or belong to: fields beside
// the id, the consumer that each row belongs to and is deleted with, the time
// of its creation and tags. The path is its segment in URLs, nested the one below
// a consumer. The key is the unique field that may stand for the id there; empty:
// none.
func Credential(name, path, nested, key string, fields ...schema.Field) *schema.Table {
	list := []schema.Field{
		idField(),
		createdAt(),
		required(documented(foreign("consumer", "consumers", schema.Cascade), "The consumer that this belongs to.")),
	}
	list = append(list, fields...)
	return &schema.Table{Name: name, Path: path, Nested: nested, Key: key, Fields: &schema.Fields{List: append(list, tagsField())}}
}

// Lifetime is the field `ttl` of tables whose rows can be there for a time only
// (kong/db/dao/init.lua, validate_options_value).
func Lifetime() schema.Field {
	return schema.Field{Name: "ttl", Kind: schema.Integer, Lifetime: true,
		Between: []float64{0, 100_000_000}, Err: "must be an integer between 0 and 100000000",
		Doc: "The seconds after which it is gone, and when it is read, those that are left. Unset or 0: it stays."}
}

// HeaderName is a field for the name of an HTTP header. As the element of a
// list it needs no name.
func HeaderName(name string) schema.Field { return headerName(name) }

// IPOrCIDR is an element for lists of addresses and ranges of them.
func IPOrCIDR() schema.Field {
	return schema.Field{Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkIPOrCIDR)}, Doc: "An address or a CIDR range."}
}

// Required makes a field required.
func Required(f schema.Field) schema.Field { return required(f) }

// Default gives a field a normalised default: int64 for integers, float64 for
// numbers, []any for lists.
func Default(f schema.Field, v any) schema.Field { return withDefault(f, v) }

// Anonymous is the field `anonymous` of plugins that authenticate.
func Anonymous() schema.Field {
	return schema.Field{Name: "anonymous", Kind: schema.String,
		Doc: "The id or username of a consumer who stands for clients that could not be authenticated. Unset: those are refused."}
}

// Host is a field for a host name or an address, without port.
func Host(name string) schema.Field { return hostField(name) }

// Port is a field for a port number.
func Port(name string) schema.Field {
	f := portField()
	f.Name = name
	return f
}

// ServerName is a field for the name of a server in TLS.
func ServerName(name string) schema.Field {
	return schema.Field{Name: name, Kind: schema.String, Rules: []schema.Rule{schema.Custom(checkSNI)},
		Doc: "The server's name in TLS (SNI)."}
}

// Timeout is a field for a time in milliseconds.
func Timeout(name string, byDefault int64) schema.Field {
	return schema.Field{Name: name, Kind: schema.Integer, Default: byDefault, Between: []float64{0, 1<<31 - 2},
		Doc: "A time in milliseconds."}
}

// Path is a field for the path of a URL.
func Path(name string) schema.Field { return pathField(name) }
