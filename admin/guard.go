package admin

import (
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"

	"go.uber.org/zap"
)

// A guard lets requests through to an API, or answers them itself.
type guard struct {
	*access
	api *API

	// rebinding says whether the Host header is checked where a request needs
	// no credential.
	rebinding bool

	// clients are the authorities of the certificates that clients must show;
	// nil: none need be shown.
	clients *x509.CertPool
}

// ServeHTTP checks the peer, the client certificate, that no web page is behind
// the request, and the token.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if refused := g.check(w, r); refused != nil {
		if log := g.api.logger.Check(zap.DebugLevel, "request refused"); log != nil {
			log.Write(zap.String("remote", r.RemoteAddr), zap.String("reason", refused.message))
		}
		if refused.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer realm="admin"`)
		}
		g.api.deny(w, r, refused)
		return
	}
	g.api.ServeHTTP(w, r)
}

func (g *guard) check(w http.ResponseWriter, r *http.Request) *refusal {
	if !g.admits(peerOf(r)) {
		return &refusal{http.StatusForbidden, "this address may not connect; see `allow`"}
	}
	if g.clients != nil && !g.proven(r) {
		w.Header().Set("Connection", "close") // the next one can show its certificate
		return &refusal{http.StatusForbidden, "a client certificate of a trusted authority is required; see `client_auth`"}
	}
	if g.rebinding && g.clients == nil && len(g.tokens) == 0 && !g.knowsHost(r.Host, localOf(r)) {
		return &refusal{http.StatusForbidden, "the Host header names neither this listener nor localhost; see `hosts`"}
	}
	preflight, refused := g.checkOrigin(w, r)
	if preflight || refused != nil {
		return refused
	}
	if len(g.tokens) == 0 {
		return nil
	}
	token := tokenOf(r)
	switch {
	case token == "":
		return &refusal{http.StatusUnauthorized, "a token is required, as Kong-Admin-Token or Authorization: Bearer"}
	case !g.tokens.accepts(token):
		return &refusal{http.StatusUnauthorized, "the token is not valid"}
	}
	return nil
}

// proven reports whether the client has shown a certificate that is trusted
// now. The handshake asked for one, but a connection may be older than the
// configuration that serves it, and that may trust others.
func (g *guard) proven(r *http.Request) bool {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return false
	}
	between := x509.NewCertPool()
	for _, c := range r.TLS.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := r.TLS.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots:         g.clients,
		Intermediates: between,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

// checkOrigin refuses what pages of other sites make browsers send, except
// for sites that are allowed to. Browsers that want to know whether they may
// (a preflight) send no token along.
func (g *guard) checkOrigin(w http.ResponseWriter, r *http.Request) (preflight bool, refused *refusal) {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		site := r.Header.Get("Sec-Fetch-Site")
		if site == "cross-site" || site == "same-site" {
			return false, &refusal{http.StatusForbidden, "web pages may not call; see `origins`"}
		}
		return false, nil
	}
	if len(origins) == 1 && origins[0] == ownOrigin(r) && g.knowsHost(r.Host, localOf(r)) {
		return false, nil
	}
	if len(origins) > 1 || !g.knowsOrigin(origins[0]) {
		return false, &refusal{http.StatusForbidden, "this web origin may not call; see `origins`"}
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", origins[0])
	header.Set("Access-Control-Allow-Credentials", "true")
	header.Add("Vary", "Origin")
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "", nil
}

// ownOrigin is that of a page which the request's own address would serve.
func ownOrigin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// peerOf is the address of the client's socket.
func peerOf(r *http.Request) netip.Addr {
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr()
}

// localOf is the address at which the request arrived.
func localOf(r *http.Request) netip.Addr {
	if addr, is := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); is {
		return addr.AddrPort().Addr()
	}
	return netip.Addr{}
}
