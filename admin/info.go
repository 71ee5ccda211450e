package admin

import (
	"encoding/json"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// modulePath is the Go module whose version `/` tells beside Kong's.
const modulePath = "github.com/portcullis-gateway/portcullis"

// getInfo answers what the node is. Clients read the version here, to decide
// which features they may ask for, so it is Kong's; the gateway's own stands
// beside it.
func getInfo(c *call) (*answer, error) {
	hostname, _ := os.Hostname()
	configuration := map[string]any{
		"database":      c.world.Database(),
		"role":          "traditional",
		"router_flavor": "traditional_compatible",
	}
	for name, value := range c.configuration {
		configuration[name] = value
	}
	available := map[string]any{}
	for _, name := range c.plugins() {
		kind, _ := c.world.Catalog().Plugin(name)
		available[name] = map[string]any{"version": kind.Version, "priority": kind.Priority}
	}
	return reply(http.StatusOK, map[string]any{
		"tagline":       "Welcome to kong",
		"version":       gateway.KongVersion,
		"edition":       "community",
		"hostname":      hostname,
		"node_id":       c.world.ID().String(),
		"timers":        map[string]any{"running": 0, "pending": 0},
		"plugins":       map[string]any{"available_on_server": available, "enabled_in_cluster": usedPlugins(c.world.View().Image)},
		"lua_version":   runtime.Version(),
		"configuration": configuration,
		"pids":          map[string]any{"master": os.Getpid(), "workers": []int{os.Getpid()}},
		"portcullis":    map[string]any{"version": ownVersion()},
	})
}

// usedPlugins lists the names of the plugins that have a configuration.
func usedPlugins(im *store.Image) []string {
	names := []string{}
	seen := map[string]bool{}
	im.Ascend("plugins", store.ID{}, func(r *store.Row) bool {
		var plugin struct {
			Name string `json:"name"`
		}
		if json.Unmarshal(r.Data, &plugin) == nil && !seen[plugin.Name] {
			seen[plugin.Name] = true
			names = append(names, plugin.Name)
		}
		return true
	})
	return names
}

var ownVersion = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == modulePath && m.Version != "" {
			return m.Version
		}
	}
	return "(devel)"
})

// getEndpoints lists the paths that there are.
func getEndpoints(c *call) (*answer, error) {
	return reply(http.StatusOK, map[string]any{"data": c.endpoints.paths()})
}

// getTimers answers Kong's form; the gateway has no timers of that kind.
func getTimers(*call) (*answer, error) {
	return reply(http.StatusOK, map[string]any{
		"worker": map[string]any{"id": 0, "count": 1},
		"stats": map[string]any{
			"sys":    map[string]any{"total": 0, "runs": 0, "running": 0, "pending": 0, "waiting": 0},
			"timers": map[string]any{},
		},
	})
}
