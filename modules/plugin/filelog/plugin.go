// Package filelog is the plugin file-log: it appends an entry about each request
// to a file.
package filelog

import (
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/plugin/logentry"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin appends an entry about each request, and each stream session, to a file:
// a line of JSON.
//
// All plugins with the same path write to it in turns, whole lines only, and
// requests do not wait for the disk: up to 10,000 entries, or 16 MiB of them, wait in memory,
// and if it is slower than that the oldest are dropped, counted and complained
// about in Caddy's log. A file that cannot be opened or written is complained
// about there, too, and tried again.
type Plugin struct {
	// The file. It is made with the permissions 0644 if it does not exist; its
	// folder must.
	Path string `json:"path"`

	// Whether to look before each write if the path names another file by now,
	// as it does after rotation. Without it the file stays open until
	// the configuration is loaded anew. Default: false.
	Reopen bool `json:"reopen"`

	// Must be empty: Kong runs Lua to change entries, this gateway does not.
	// Default: none.
	CustomFieldsByLua map[string]string `json:"custom_fields_by_lua,omitempty"`

	file *file
}

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.file_log", New: func() caddy.Module { return new(Plugin) }}
}

// Describe answers Kong's schema (kong/plugins/file-log/schema.lua).
func (*Plugin) Describe() entity.PluginKind {
	path := schema.Match(`^[^%s*&%%\`+"`"+`][^*&%%\`+"`"+`]*[^%s*&%%\`+"`"+`]$`, isPath)
	return entity.PluginKind{Priority: 9, Forgets: true, Config: &schema.Fields{List: []schema.Field{
		{Name: "path", Kind: schema.String, Required: true, Rules: []schema.Rule{path}, Err: "not a valid filename",
			Doc: "The file that entries are appended to."},
		{Name: "reopen", Kind: schema.Boolean, Required: true, Default: false,
			Doc: "Whether to look before each write if the path names another file by now."},
		logentry.CustomFields(),
	}}}
}

// isPath reports whether s is of at least two characters, none of which is *, &,
// %, \ or a backtick, and has no white space at its ends.
func isPath(s string) bool {
	return len(s) > 1 && !strings.ContainsAny(s, "*&%\\`") && strings.TrimFunc(s, unicode.IsSpace) == s
}

// Provision finds the writer of the path, or makes it. It opens nothing.
func (p *Plugin) Provision(ctx caddy.Context) error {
	p.file = hold(p.Path)
	p.file.use(ctx.Logger())
	return nil
}

// Cleanup gives the writer back.
func (p *Plugin) Cleanup() error {
	if p.file == nil {
		return nil
	}
	p.file = nil
	return drop(p.Path)
}

// Log writes the entry of a request.
func (p *Plugin) Log(x *plugin.Exchange) { p.file.add(logentry.Of(x), p.Reopen) }

// LogSession writes the entry of a stream session.
func (p *Plugin) LogSession(s *plugin.Session) { p.file.add(logentry.OfSession(s), p.Reopen) }

// Interface guards
var (
	_ plugin.Described     = (*Plugin)(nil)
	_ plugin.Logger        = (*Plugin)(nil)
	_ plugin.SessionLogger = (*Plugin)(nil)
	_ caddy.Provisioner    = (*Plugin)(nil)
	_ caddy.CleanerUpper   = (*Plugin)(nil)
)
