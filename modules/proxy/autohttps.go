package proxy

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// autoHTTPS gives the hosts of routes to Caddy's app `tls`, which obtains
// certificates for them and renews them, and follows the routes as they change.
type autoHTTPS struct {
	app     *App
	tls     *caddytls.TLS
	node    *node.Node
	logger  *zap.Logger
	managed map[string]struct{} // what Caddy has been given
	warned  map[string]struct{}

	quit, over chan struct{}
}

// restAfterChange is how long routes are left alone after they have changed, so
// that many changes make one look at them.
const restAfterChange = time.Second

// manageHosts begins with the hosts that are there. It is called in Start: apps start one
// after the other, and the app `tls` takes names from one of them at a time.
func manageHosts(app *App, tls *caddytls.TLS, n *node.Node) *autoHTTPS {
	m := &autoHTTPS{
		app: app, tls: tls, node: n, logger: app.logger.Named("auto_https"),
		managed: map[string]struct{}{}, warned: map[string]struct{}{},
		quit: make(chan struct{}), over: make(chan struct{}),
	}
	changed, forget := n.Watch()
	m.manage()
	go func() {
		defer close(m.over)
		defer forget()
		m.follow(changed)
	}()
	return m
}

// stop ends it. Certificates that are being obtained are Caddy's business.
func (m *autoHTTPS) stop() {
	close(m.quit)
	<-m.over
}

// follow looks at the routes again when they have changed. The more of them there
// are, the longer it waits, so that it never takes more than a twentieth of a
// processor.
func (m *autoHTTPS) follow(changed <-chan struct{}) {
	rest := restAfterChange
	for {
		select {
		case <-changed:
		case <-m.quit:
			return
		}
		// Until the whole configuration has started, others may still be at it.
		for wait := true; wait; wait = !m.active() {
			select {
			case <-time.After(rest):
			case <-m.quit:
				return
			}
		}
		began := time.Now()
		m.manage()
		rest = max(restAfterChange, 20*time.Since(began))
	}
}

// active reports whether the configuration runs.
func (m *autoHTTPS) active() bool {
	ctx := caddy.ActiveContext()
	if ctx.Context == nil {
		return false
	}
	app, err := ctx.AppIfConfigured("gateway_proxy")
	return err == nil && app == m.app
}

// manage gives Caddy the hosts that it does not know yet. If it refuses, they are
// given again at the next change.
func (m *autoHTTPS) manage() {
	hosts := m.hosts()
	maps.DeleteFunc(hosts, func(host string, _ struct{}) bool { _, ok := m.managed[host]; return ok })
	if len(hosts) == 0 {
		return
	}
	m.logger.Info("managing certificates for hosts of routes", zap.Int("count", len(hosts)), zap.Strings("hosts", sorted(hosts, 20)))
	if err := m.tls.Manage(hosts); err != nil {
		m.logger.Error("certificates cannot be managed", zap.Error(err))
		return
	}
	maps.Copy(m.managed, hosts)
}

// sorted are some names of a set, in their order.
func sorted(set map[string]struct{}, n int) []string {
	names := slices.Sorted(maps.Keys(set))
	return names[:min(n, len(names))]
}

// hosts are those that want a certificate of Caddy's.
func (m *autoHTTPS) hosts() map[string]struct{} {
	hosts := make(map[string]struct{})
	view := m.node.View()
	own := view.Snapshot.Certificates()
	view.Image.Ascend("routes", store.ID{}, func(row *store.Row) bool {
		route, err := entity.Decode[entity.Route](row.Data)
		if err != nil || !slices.ContainsFunc(route.Protocols, secure) {
			return true
		}
		for _, host := range route.Hosts {
			host = strings.ToLower(strings.TrimSuffix(hostOnly(host), "."))
			if _, ok := hosts[host]; ok || !m.wants(host) {
				continue
			}
			if _, ok := own.Lookup(host); !ok {
				hosts[host] = struct{}{}
			}
		}
		return true
	})
	return hosts
}

// wants reports whether there can be a certificate for a host. One for a wildcard
// needs a proof that only the operator can say how to give, in a policy for it.
func (m *autoHTTPS) wants(host string) bool {
	if !certmagic.SubjectQualifiesForCert(host) {
		return false
	}
	if !strings.Contains(host, "*") {
		return true
	}
	if a := m.tls.Automation; a != nil && slices.ContainsFunc(a.Policies, func(p *caddytls.AutomationPolicy) bool {
		return slices.Contains(p.Subjects(), host)
	}) {
		return true
	}
	if _, ok := m.warned[host]; !ok && strings.HasPrefix(host, "*.") {
		m.warned[host] = struct{}{}
		m.logger.Warn("no certificate is managed for a host with a wildcard: that needs an automation policy for exactly this name, with the DNS challenge",
			zap.String("host", host))
	}
	return false
}

// answers lets Caddy answer what authorities ask over HTTP, before anyone else
// sees it.
func (m *autoHTTPS) answers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !m.tls.HandleHTTPChallenge(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}
