// Package acl is the plugin acl: groups decide which consumers may pass.
package acl

import (
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin lets consumers pass by the groups that they belong to. Another plugin
// has to find out before who the consumer is.
//
// Memberships are entities of their own, under `/consumers/<consumer>/acls` and
// `/acls` of the Admin API.
type Plugin struct {
	// The groups whose consumers may pass; all others may not. It excludes
	// `deny`. Default: none.
	Allow []string `json:"allow"`

	// The groups whose consumers may not pass; all others may. It excludes
	// `allow`. Default: none.
	Deny []string `json:"deny"`

	// Whether the service is not told the groups in `X-Consumer-Groups` or
	// `X-Authenticated-Groups`. Default: false.
	HideGroupsHeader bool `json:"hide_groups_header"`

	// Whether groups that another plugin has found count before those of the
	// consumer. Otherwise they count only where there is no consumer, or the
	// anonymous one. Default: false.
	AlwaysUseAuthenticatedGroups bool `json:"always_use_authenticated_groups"`

	groups map[string]bool // of allow or deny
}

// Membership is the typed view of a row of the table acls.
type Membership struct {
	ID       uuid.UUID  `json:"id"`
	Consumer entity.Ref `json:"consumer"`
	Group    string     `json:"group"`
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.acl", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/acl/schema.lua and daos.lua).
func (*Plugin) Describe() entity.PluginKind {
	members := entity.Credential("acls", "acls", "", "",
		schema.Field{Name: "group", Kind: schema.String, Required: true, Doc: "The group that the consumer belongs to."})
	members.CacheKey = []string{"consumer", "group"}
	group := schema.Field{Kind: schema.String}
	return entity.PluginKind{
		Priority: 950, Forgets: true,
		Protocols:  entity.HTTPProtocols,
		NoConsumer: true,
		Config: &schema.Fields{List: []schema.Field{
			{Name: "allow", Kind: schema.Array, Elem: &group, Doc: "The groups whose consumers may pass. It excludes deny."},
			{Name: "deny", Kind: schema.Array, Elem: &group, Doc: "The groups whose consumers may not pass. It excludes allow."},
			{Name: "hide_groups_header", Kind: schema.Boolean, Required: true, Default: false,
				Doc: "Whether the service is not told the groups."},
			{Name: "always_use_authenticated_groups", Kind: schema.Boolean, Required: true, Default: false,
				Doc: "Whether groups that another plugin has found count before those of the consumer."},
		}},
		Checks: []schema.Check{
			schema.OnlyOneOf("config.allow", "config.deny"),
			schema.AtLeastOneOf("config.allow", "config.deny"),
		},
		Tables: []*schema.Table{members},
	}
}

// Provision makes a set of the groups.
func (p *Plugin) Provision(caddy.Context) error {
	p.groups = map[string]bool{}
	for _, list := range [][]string{p.Allow, p.Deny} {
		for _, g := range list {
			p.groups[g] = true
		}
	}
	return nil
}

// Access lets the request pass or not (kong/plugins/acl/handler.lua).
func (p *Plugin) Access(x *plugin.Exchange) error {
	header := "X-Authenticated-Groups"
	groups, ok := x.Shared["authenticated_groups"].([]string) // kong/plugins/acl/groups.lua
	if !ok {
		groups = x.Groups
	}
	id, known := who(x)
	if known && (groups == nil || x.Credential != nil && !p.AlwaysUseAuthenticatedGroups) {
		groups, header = nil, "X-Consumer-Groups"
		for m := range plugin.Children[Membership](x.Directory, "acls", "consumer", id) {
			groups = append(groups, m.Group)
		}
		if groups == nil && len(p.Deny) == 0 {
			return refuse(x)
		}
	}
	if !known && groups == nil {
		return refuse(x)
	}
	if p.member(groups) == (len(p.Deny) > 0) {
		return plugin.Refuse(http.StatusForbidden, forbidden)
	}
	// What the client says of itself must not look like the gateway's word.
	x.SetUpstreamHeader("X-Consumer-Groups", "")
	x.SetUpstreamHeader("X-Authenticated-Groups", "")
	if !p.HideGroupsHeader {
		x.SetUpstreamHeader(header, strings.Join(groups, ", "))
	}
	return nil
}

const forbidden = "You cannot consume this service"

// refuse answers those of whom nothing is known that could let them in.
func refuse(x *plugin.Exchange) error {
	if x.Credential != nil {
		return plugin.Refuse(http.StatusForbidden, forbidden)
	}
	return plugin.Refuse(http.StatusUnauthorized, "Unauthorized")
}

// who answers the consumer, if there is one.
func who(x *plugin.Exchange) (uuid.UUID, bool) {
	switch {
	case x.Consumer != nil:
		return x.Consumer.ID, true
	case x.Credential != nil && x.Credential.ConsumerID != uuid.Nil:
		return x.Credential.ConsumerID, true
	}
	return uuid.Nil, false
}

func (p *Plugin) member(groups []string) bool {
	for _, g := range groups {
		if p.groups[g] {
			return true
		}
	}
	return false
}

// Interface guards
var (
	_ plugin.Described  = (*Plugin)(nil)
	_ plugin.Accessor   = (*Plugin)(nil)
	_ caddy.Provisioner = (*Plugin)(nil)
)
