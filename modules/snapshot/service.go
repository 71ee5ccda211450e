package snapshot

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/certs"
	"github.com/portcullis-gateway/portcullis/modules/dial"
	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/transparent"
)

// Service is a service with what it refers to.
type Service struct {
	*entity.Service

	// Address is the host and port, if the host is an IP address: what is
	// dialled. Else it is empty.
	Address string

	// Original tells that the service is wherever the client wanted to go
	// (entity.OriginalDestination).
	Original bool

	// Sources are the addresses that connections to it may come from; nil: the
	// system chooses.
	Sources *dial.Sources

	ClientCertificate *tls.Certificate // nil: none
	RootCAs           *x509.CertPool   // nil: the system's

	// TLSKey identifies how connections to the service are secured:
	// ClientCertificate, RootCAs, and what the service says of verification.
	// Services with the same key may share connections.
	TLSKey string

	// Err says why the service cannot be used; requests for it are answered
	// with an error.
	Err error

	plugins *plugin.Bindings
}

// TLS is how connections to the service are secured, towards a server of the
// name given, which is a target of the upstream u or, if that is nil, the
// service's own host. Verify is the node's default.
func (s *Service) TLS(serverName string, u *Upstream, verify bool) *dial.TLS {
	t := &dial.TLS{
		ServerName: serverName,
		Verify:     verify,
		Depth:      1, // nginx's proxy_ssl_verify_depth
		Roots:      s.RootCAs,
		Client:     s.ClientCertificate,
		Key:        s.TLSKey,
	}
	if s.TLSVerify != nil {
		t.Verify = *s.TLSVerify
	}
	if s.TLSVerifyDepth != nil {
		t.Depth = *s.TLSVerifyDepth
	}
	if t.Client == nil && u != nil && u.ClientCertificate != nil {
		t.Client = u.ClientCertificate
		t.Key += "/" + u.TLSKey
	}
	return t
}

func (e *edit) changeService(c store.Change) {
	var before, after *entity.Service
	if c.Before != nil {
		before, _ = view[entity.Service](e, "services", c.Before)
	}
	if c.After == nil {
		e.services.Delete(string(c.Before.ID[:]))
		e.trusting.Delete(string(c.Before.ID[:]))
		delete(e.dirtyServices, c.Before.ID)
		return
	}
	e.dirtyServices[c.After.ID] = true

	// The index holds no route of a disabled service.
	after, _ = view[entity.Service](e, "services", c.After)
	if before == nil || after == nil || before.Enabled == after.Enabled {
		return
	}
	e.toggled[c.After.ID] = after.Enabled
}

// toggleRoutes adds or removes the routes of a service, except those that are
// part of the batch: their own change sees to them.
func (e *edit) toggleRoutes(service uuid.UUID, on bool) {
	for r := range e.children("routes", "service", service) {
		if e.changed[rowKey{"routes", r.ID}] {
			continue
		}
		if on {
			e.addRoute(r)
		} else if route, ok := view[entity.Route](e, "routes", r); ok {
			e.removeRoute(route)
		}
	}
}

func (e *edit) compileService(id uuid.UUID, set *certs.Set) {
	row, ok := e.image.Get("services", id)
	if !ok {
		return
	}
	delete(e.problems, rowKey{"services", id}) // it may have waited for another row
	key := string(id[:])
	v, ok := view[entity.Service](e, "services", row)
	if !ok {
		e.services.Put(key, &Service{Service: &entity.Service{ID: id}, Err: fmt.Errorf("service %s could not be read", id)})
		return
	}
	s := &Service{Service: v, plugins: e.bindings("service", id), Original: v.Host == entity.OriginalDestination}
	if ip, ok := dns.Literal(v.Host); ok {
		s.Address = netip.AddrPortFrom(ip, uint16(v.Port)).String()
	}
	if err := s.leave(); err != nil {
		s.Err = err
		e.problem("services", id, err)
	} else if s.Err = s.secure(e, set); s.Err != nil {
		e.tolerate("services", id, s.Err)
	}
	if len(v.CACertificates) > 0 {
		e.trusting.Put(key, id)
	} else {
		e.trusting.Delete(key)
	}
	e.services.Put(key, s)
}

// leave finds out where connections to the service come from.
func (s *Service) leave() (err error) {
	if s.Sources, err = dial.ParseSources(s.SourceAddresses); err != nil {
		return fmt.Errorf("source_addresses: %w", err)
	}
	if s.Sources.Foreign() {
		if err := transparent.CheckOutgoing(); err != nil {
			return fmt.Errorf("source_addresses: client: %w", err)
		}
	}
	return nil
}

// secure resolves what the service says of TLS.
func (s *Service) secure(e *edit, set *certs.Set) error {
	if s.Protocol != "https" && s.Protocol != "tls" && s.Protocol != "grpcs" {
		return nil
	}
	h := sha256.New()
	if ref := s.Service.ClientCertificate; ref != nil {
		pair, ok := set.ByID(ref.ID)
		if !ok {
			return fmt.Errorf("client_certificate %s cannot be used", ref.ID)
		}
		s.ClientCertificate = pair.Certificate()
		fmt.Fprintf(h, "cert %x ", pair.Digest())
	}
	if len(s.CACertificates) > 0 {
		s.RootCAs = x509.NewCertPool()
	}
	for _, id := range s.CACertificates {
		row, ok := e.image.Get("ca_certificates", id)
		if !ok {
			return fmt.Errorf("ca_certificates: %s does not exist", id)
		}
		ca, err := entity.Decode[entity.CACertificate](row.Data)
		if err != nil {
			return err
		}
		if !s.RootCAs.AppendCertsFromPEM([]byte(ca.Cert)) {
			return fmt.Errorf("ca_certificates: %s is not a certificate", id)
		}
		fmt.Fprintf(h, "ca %s ", ca.CertDigest)
	}
	if s.TLSVerify != nil {
		fmt.Fprintf(h, "verify %t ", *s.TLSVerify)
	}
	if s.TLSVerifyDepth != nil {
		fmt.Fprintf(h, "depth %d ", *s.TLSVerifyDepth)
	}
	s.TLSKey = hex.EncodeToString(h.Sum(nil)[:16])
	return nil
}
