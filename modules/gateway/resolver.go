package gateway

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/dns"
)

// resolvers keeps what is known of names across reloads, by the settings.
var resolvers = caddy.NewUsagePool()

// A sharedResolver ends with the last configuration that has it.
type sharedResolver struct{ *dns.Resolver }

// Destruct implements caddy.Destructor.
func (r sharedResolver) Destruct() error {
	r.Close()
	return nil
}

// openResolver finds or makes the resolver. The caller holds mu.
func (a *App) openResolver() error {
	if a.resolver != nil {
		return nil
	}
	if path := a.DNSHostsFile; path != "" {
		if _, err := os.Stat(path); err != nil {
			a.logger.Warn("hosts file cannot be read", zap.String("option", "dns_hostsfile"), zap.Error(err))
		}
	}
	r, _, err := resolvers.LoadOrNew(resolverKey(a.options.DNS), func() (caddy.Destructor, error) {
		r, err := dns.New(a.options.DNS)
		return sharedResolver{r}, err
	})
	if err != nil {
		return err
	}
	a.resolver = r.(sharedResolver).Resolver
	return nil
}

// closeResolver gives the resolver back. The caller holds mu.
func (a *App) closeResolver() {
	if a.resolver != nil {
		a.resolver = nil
		_, _ = resolvers.Delete(resolverKey(a.options.DNS))
	}
}

// resolverKey names all that makes two resolvers different.
func resolverKey(c dns.Config) string {
	b, _ := json.Marshal(c) // strings and numbers
	return string(b)
}

// parseDNS reads the settings of name resolution.
func (s *Settings) parseDNS() (dns.Config, error) {
	c := dns.NewConfig()
	for _, server := range s.DNSResolver {
		server, err := dns.ParseServer(server)
		if err != nil {
			return c, fmt.Errorf("dns_resolver: %w", err)
		}
		c.Servers = append(c.Servers, server)
	}
	if s.DNSHostsFile != "" {
		c.Hosts = s.DNSHostsFile
	}
	if len(s.DNSOrder) > 0 {
		order, err := dns.ParseOrder(s.DNSOrder)
		if err != nil {
			return c, fmt.Errorf("dns_order: %w", err)
		}
		c.Order = order
	}
	for _, ttl := range []struct {
		option string
		set    *caddy.Duration
		to     *time.Duration
	}{
		{"dns_valid_ttl", &s.DNSValidTTL, &c.ValidTTL},
		{"dns_stale_ttl", s.DNSStaleTTL, &c.StaleTTL},
		{"dns_not_found_ttl", s.DNSNotFoundTTL, &c.NotFoundTTL},
		{"dns_error_ttl", s.DNSErrorTTL, &c.ErrorTTL},
	} {
		if ttl.set == nil {
			continue
		}
		if *ttl.set < 0 {
			return c, fmt.Errorf("%s: %v: expected a duration that is not negative", ttl.option, time.Duration(*ttl.set))
		}
		*ttl.to = time.Duration(*ttl.set)
	}
	switch {
	case s.DNSCacheSize < 0:
		return c, fmt.Errorf("dns_cache_size: %d: expected a number of names above 0", s.DNSCacheSize)
	case s.DNSCacheSize > 0:
		c.CacheSize = s.DNSCacheSize
	}
	return c, nil
}

// Interface guard
var _ caddy.Destructor = sharedResolver{}
