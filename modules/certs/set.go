package certs

import (
	"crypto/tls"
	"strings"

	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/trie"
)

// A Set is everything that certificates and snis say, as of one moment: the
// pairs by their id, and which name is served by which. It is immutable, so
// readers need no lock; an Edit makes the next one and copies only what it
// touches.
type Set struct {
	pairs trie.Map[*Pair]     // by the 16 bytes of the id
	names trie.Map[uuid.UUID] // server name, or pattern, in lower case -> certificate
}

// New makes an empty set.
func New() *Set { return new(Set) }

// Lookup finds the pair for a server name in Kong's order: the name itself,
// then with its first label replaced by "*", then with its last label replaced
// by "*", then the name "*" (kong/runloop/certificate.lua). A name whose
// certificate is missing or broken is passed over.
func (s *Set) Lookup(name string) (*Pair, bool) {
	if name != "" {
		name = strings.ToLower(strings.TrimSuffix(name, "."))
		if p, ok := s.named(name); ok {
			return p, true
		}
		if _, rest, ok := strings.Cut(name, "."); ok {
			if p, ok := s.named("*." + rest); ok {
				return p, true
			}
			if p, ok := s.named(name[:strings.LastIndexByte(name, '.')] + ".*"); ok {
				return p, true
			}
		}
		if p, ok := s.named("*"); ok {
			return p, true
		}
	}
	return nil, false
}

// named is the pair of an exact entry.
func (s *Set) named(name string) (*Pair, bool) {
	id, ok := s.names.Get(name)
	if !ok {
		return nil, false
	}
	return s.ByID(id)
}

// Certificate answers a handshake: from the pair that Lookup finds, else from
// def, which also serves clients that name no server. It is nil if there is
// neither.
func (s *Set) Certificate(hello *tls.ClientHelloInfo, def *Pair) *tls.Certificate {
	p, ok := s.Lookup(hello.ServerName)
	if !ok {
		p = def
	}
	if p == nil {
		return nil
	}
	return p.For(hello)
}

// ByID is the pair of the certificate with the id, such as the one that a
// service shows to its upstream.
func (s *Set) ByID(id uuid.UUID) (*Pair, bool) { return s.pairs.Get(string(id[:])) }

// Edit starts a batch of changes. The set itself stays as it is.
func (s *Set) Edit() *Edit { return &Edit{pairs: s.pairs.Edit(), names: s.names.Edit()} }

// An Edit collects changes; Set makes them one new set. The entities may come
// in any order: a name may be set before its certificate.
type Edit struct {
	pairs *trie.Edit[*Pair]
	names *trie.Edit[uuid.UUID]
}

// SetCertificate adds a certificate, or replaces the one with its id. If it
// cannot be used there is none with the id afterwards, and the error says why.
func (e *Edit) SetCertificate(c *entity.Certificate) error {
	p, err := Parse(c)
	if err != nil {
		e.RemoveCertificate(c.ID)
		return err
	}
	e.pairs.Put(string(c.ID[:]), p)
	return nil
}

// RemoveCertificate removes a certificate; the names that refer to it are
// passed over from then on.
func (e *Edit) RemoveCertificate(id uuid.UUID) { e.pairs.Delete(string(id[:])) }

// SetSNI lets a name be served by its certificate.
func (e *Edit) SetSNI(s *entity.SNI) { e.names.Put(strings.ToLower(s.Name), s.Certificate.ID) }

// RemoveSNI removes a name.
func (e *Edit) RemoveSNI(s *entity.SNI) { e.names.Delete(strings.ToLower(s.Name)) }

// Set is the set with all changes so far.
func (e *Edit) Set() *Set { return &Set{pairs: e.pairs.Map(), names: e.names.Map()} }
