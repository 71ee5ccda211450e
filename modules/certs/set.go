package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/tidwall/btree"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A Set is everything the certificate entities say, as of one moment: which
// name is served by which pair, the pairs by their id, and the certificates of
// authorities. It is immutable, so readers need no lock; an Edit makes the
// next one and copies only what it touches.
type Set struct {
	def   *Pair
	pairs *btree.Map[string, *Pair]     // by the 16 bytes of the id
	names *btree.Map[string, uuid.UUID] // server name, or pattern, in lower case -> certificate
	cas   *btree.Map[string, *authority]
}

// authority is one certificate of ca_certificates.
type authority struct {
	certificate *x509.Certificate
	digest      [sha256.Size]byte
}

// New makes a set that holds nothing but the pair to serve when no name does.
// It may be nil: such handshakes then fail.
func New(def *Pair) *Set {
	return &Set{
		def:   def,
		pairs: new(btree.Map[string, *Pair]),
		names: new(btree.Map[string, uuid.UUID]),
		cas:   new(btree.Map[string, *authority]),
	}
}

// Lookup finds the pair for a server name in Kong's order: the name itself,
// then with its first label replaced by "*", then with its last label replaced
// by "*", then the name "*" (kong/runloop/certificate.lua). A name whose
// certificate is missing or broken is passed over. It does not consider the
// default.
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
	return s.Pair(id)
}

// Certificate answers a handshake: the pair that Lookup finds, else the
// default, which also serves clients that name no server. It is nil if there
// is neither.
func (s *Set) Certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	p, ok := s.Lookup(hello.ServerName)
	if !ok {
		p = s.def
	}
	if p == nil {
		return nil
	}
	return p.For(hello)
}

// Pair is the certificate with the id, such as the one that a service shows
// to its upstream.
func (s *Set) Pair(id uuid.UUID) (*Pair, bool) { return s.pairs.Get(string(id[:])) }

// Pool is the authorities with the ids, for verifying an upstream. The error
// names those that do not exist (Kong does not check that they do); the pool
// holds the others and is never nil, so a missing authority never widens what
// is trusted.
func (s *Set) Pool(ids []uuid.UUID) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	var missing []string
	for _, id := range ids {
		if a, ok := s.cas.Get(string(id[:])); ok {
			pool.AddCert(a.certificate)
		} else {
			missing = append(missing, id.String())
		}
	}
	if missing != nil {
		return pool, fmt.Errorf("no CA certificate with id %s", strings.Join(missing, ", "))
	}
	return pool, nil
}

// PoolDigest tells pools with other content apart, whatever the order of the
// ids. It costs much less than the pool.
func (s *Set) PoolDigest(ids []uuid.UUID) [sha256.Size]byte {
	var digests [][sha256.Size]byte
	for _, id := range ids {
		if a, ok := s.cas.Get(string(id[:])); ok {
			digests = append(digests, a.digest)
		}
	}
	slices.SortFunc(digests, func(a, b [sha256.Size]byte) int { return strings.Compare(string(a[:]), string(b[:])) })
	h := sha256.New()
	for _, d := range slices.Compact(digests) {
		h.Write(d[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// Edit starts a batch of changes. The set itself stays as it is. At most one
// goroutine may edit a set, or sets that come from one another, at a time.
func (s *Set) Edit() *Edit {
	return &Edit{Set{def: s.def, pairs: s.pairs.Copy(), names: s.names.Copy(), cas: s.cas.Copy()}}
}

// An Edit collects changes; Set makes them one new set. The entities may come
// in any order: a name may be put before its certificate.
type Edit struct{ set Set }

// PutCertificate adds a certificate, or replaces the one with its id. If it
// cannot be used there is none with the id afterwards, and the error says why.
func (e *Edit) PutCertificate(c *entity.Certificate) error {
	p, err := Parse(c)
	if err != nil {
		e.RemoveCertificate(c.ID)
		return err
	}
	e.set.pairs.Set(string(c.ID[:]), p)
	return nil
}

// RemoveCertificate removes a certificate; the names that refer to it are
// passed over from then on.
func (e *Edit) RemoveCertificate(id uuid.UUID) { e.set.pairs.Delete(string(id[:])) }

// PutSNI lets a name be served by its certificate.
func (e *Edit) PutSNI(s *entity.SNI) {
	e.set.names.Set(strings.ToLower(s.Name), s.Certificate.ID)
}

// RemoveSNI removes a name.
func (e *Edit) RemoveSNI(name string) { e.set.names.Delete(strings.ToLower(name)) }

// PutCA adds the certificate of an authority, or replaces the one with its id.
// If it cannot be used there is none with the id afterwards, and the error
// says why.
func (e *Edit) PutCA(c *entity.CACertificate) error {
	x, err := parseAuthority(c)
	if err != nil {
		e.RemoveCA(c.ID)
		return err
	}
	e.set.cas.Set(string(c.ID[:]), &authority{certificate: x, digest: sha256.Sum256(x.Raw)})
	return nil
}

// RemoveCA removes the certificate of an authority.
func (e *Edit) RemoveCA(id uuid.UUID) { e.set.cas.Delete(string(id[:])) }

// Set is the set with all changes so far. The edit must not be used
// afterwards.
func (e *Edit) Set() *Set { return &e.set }
