package memory

import (
	"encoding/json"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	build "github.com/portcullis-gateway/portcullis/modules/catalog"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/inline"
)

// UnmarshalCaddyfile sets up the store from its tokens. Syntax:
//
//	memory [<file>]
//
// or, with the entities in place of the file,
//
//	memory {
//		<entity> [<arguments...>] [{
//			<field>  <values...>
//			<record> {
//				<field> <values...>
//			}
//			<entity> ...
//		}]
//	}
//
// An entity is named by the singular of its table: service, route, upstream,
// target, consumer, plugin, certificate, sni, ca_certificate, vault, key_set,
// key. It may stand inside the entity that it belongs to. Its fields are those
// of the declarative format, one on a line: several values make a list, `on`
// and `off` are booleans, a reference is the other entity's name or id.
//
// The arguments are the fields that one would name first:
//
//	service  <name> [<url>]
//	route    [<name>] [<paths...>]
//	upstream <name>
//	target   <host:port> [<weight>]
//	plugin   <name>
//	vault    <prefix> [<name>]
//
// and for any other entity its key: the username of a consumer, the name of an
// SNI. In the block of a plugin, fields of its configuration can stand beside
// the plugin's own.
func (s *Store) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return s.unmarshal(d, build.Of())
}

func (s *Store) unmarshal(d *caddyfile.Dispenser, c *entity.Catalog) error {
	d.Next() // the name of the driver
	if d.NextArg() {
		s.File = d.Val()
		if s.File == "" {
			return d.Err("the path of the declarative file is empty")
		}
		// Whether it can be read is for the process to tell that will do it.
		if text, err := os.ReadFile(caddy.NewReplacer().ReplaceAll(s.File, "")); err == nil {
			s.FileHash = hash(text)
		}
	}
	if d.NextArg() {
		return d.Errf("unexpected argument %q: memory takes one declarative file, or a block of entities", d.Val())
	}
	entities, err := inline.Entities(d, c)
	if err != nil || len(entities) == 0 {
		return err
	}
	if s.File != "" {
		return d.Err("memory takes a declarative file or a block of entities, not both")
	}
	entities["_format_version"] = "3.0"
	s.Config, err = json.Marshal(entities)
	return err
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Store)(nil)
