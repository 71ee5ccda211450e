package admin

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/listen"
)

// Access says who may use an API.
//
// Without any of it, only this host's own programs can: the listeners are on
// loopback addresses, and requests that a browser may have been tricked into
// sending are refused. That needs nothing of clients such as curl or decK.
type Access struct {
	// A token that clients must send, in `Kong-Admin-Token` or as
	// `Authorization: Bearer`. It is not written here in clear text, but as
	// `sha256:` and the SHA-256 sum in hexadecimal, as `file:` and the path of
	// a file that holds the token or its sum, or as a placeholder such as
	// `{env.ADMIN_TOKEN}`. Default: none, no token is asked for.
	Token string `json:"token,omitempty"`

	// Further tokens, any of which will do.
	Tokens []string `json:"tokens,omitempty"`

	// Asks clients of the `ssl` listeners for a certificate. Default: none.
	ClientAuth *ClientAuth `json:"client_auth,omitempty"`

	// Whether listeners that other hosts can reach may go without a token and
	// without client certificates. Default: false.
	Insecure bool `json:"insecure,omitempty"`

	// Addresses and CIDR ranges that may connect; all others are refused. It
	// is the address of the client's socket that counts, whatever a PROXY
	// protocol header says. Default: everyone who can reach a listener.
	Allow []string `json:"allow,omitempty"`

	// Further names and addresses that the `Host` header may have, without a
	// port; `*` allows all. Addresses of loopback and of the listener, and
	// `localhost`, are always allowed. Only requests that need no token and no
	// client certificate are checked: it keeps out web pages that make their
	// own name resolve to this host (DNS rebinding).
	Hosts []string `json:"hosts,omitempty"`

	// The web origins whose pages may call the API, such as
	// `https://console.example.com`. Default: none.
	Origins []string `json:"origins,omitempty"`
}

// ClientAuth asks for client certificates.
type ClientAuth struct {
	// PEM files with the certificates of the authorities that sign clients'
	// certificates. At least one is required.
	TrustedCACerts []string `json:"trusted_ca_certs,omitempty"`
}

// access is Access as requests are checked against it.
type access struct {
	tokens  tokenSet
	mTLS    bool
	allow   []netip.Prefix // nil: everyone
	hosts   []string       // lower case
	origins []string       // lower case
}

// Check reports the first setting that is not understood. It is for those who
// write settings, such as the Caddyfile's options, while they still know the
// line.
func (s *Access) Check() error {
	_, err := s.parse()
	return err
}

// parse reads the settings; placeholders get their values. The error names the
// option at fault.
func (s *Access) parse() (*access, error) {
	a := &access{mTLS: s.ClientAuth != nil}
	repl := caddy.NewReplacer()
	tokens := s.Tokens
	if s.Token != "" {
		tokens = append([]string{s.Token}, tokens...)
	}
	for _, t := range tokens {
		if err := a.tokens.add(t, repl); err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
	}
	for _, text := range s.Allow {
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("allow: %q is neither an address nor a CIDR range", text)
		}
		a.allow = append(a.allow, prefix)
	}
	for _, host := range s.Hosts {
		host = strings.ToLower(strings.Trim(host, "[]"))
		if host == "" || strings.ContainsAny(host, "/ ") {
			return nil, fmt.Errorf("hosts: %q is not a hostname", host)
		}
		a.hosts = append(a.hosts, host)
	}
	for _, origin := range s.Origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return nil, fmt.Errorf("origins: %q is not a web origin; expected scheme://host or scheme://host:port", origin)
		}
		a.origins = append(a.origins, strings.ToLower(u.Scheme+"://"+u.Host))
	}
	return a, nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil {
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(s)
	return prefix.Masked(), err
}

// check refuses binds that would give the API away: other hosts can reach
// them, and nobody has to prove anything.
func (a *access) check(option string, binds []listen.Bind, insecure bool) error {
	for _, b := range binds {
		if b.IsLoopback() || insecure || len(a.tokens) > 0 || a.mTLS && b.SSL {
			continue
		}
		why := "it is reachable from other hosts and asks for no credential"
		if a.mTLS {
			why = "it is reachable from other hosts, and client certificates need the flag ssl"
		}
		return fmt.Errorf("%s %s: %s; add a `token`, `client_auth` on an ssl bind, or `insecure` if something else protects it", option, b.HostPort(), why)
	}
	return nil
}

// admits reports whether the peer may connect.
func (a *access) admits(peer netip.Addr) bool {
	if a.allow == nil {
		return true
	}
	peer = peer.Unmap().WithZone("")
	return slices.ContainsFunc(a.allow, func(p netip.Prefix) bool { return p.Contains(peer) })
}

// knowsHost reports whether a request to the local address may have this Host
// header.
func (a *access) knowsHost(header string, local netip.Addr) bool {
	host := strings.ToLower(hostname(header))
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap()
		if addr.IsLoopback() || addr == local.Unmap() {
			return true
		}
		host = addr.String()
	}
	// All browsers send the header, so a request without it comes from none.
	return host == "" || host == "localhost" || slices.Contains(a.hosts, host) || slices.Contains(a.hosts, "*")
}

// hostname is a Host header without port and brackets.
func hostname(header string) string {
	if rest, bracketed := strings.CutPrefix(header, "["); bracketed {
		host, _, _ := strings.Cut(rest, "]")
		return host
	}
	host, _, _ := strings.Cut(header, ":")
	return strings.TrimSuffix(host, ".")
}

// knowsOrigin reports whether pages of the origin may call.
func (a *access) knowsOrigin(origin string) bool {
	return slices.Contains(a.origins, strings.ToLower(origin))
}
