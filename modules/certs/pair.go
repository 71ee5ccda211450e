// Package certs keeps the certificates that the gateway serves or shows.
package certs

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/pem"
	"fmt"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// A Pair is what one certificate entity holds, parsed: a certificate with its
// key, and possibly an alternative of another key type. It is immutable.
type Pair struct {
	certificates []*tls.Certificate // one or two; ECDSA stands before RSA
	digest       [sha256.Size]byte
}

// Parse reads a certificate entity. The errors are about one field each, and
// say which.
func Parse(c *entity.Certificate) (*Pair, error) {
	first, err := parse("cert", "key", c.Cert, c.Key)
	if err != nil {
		return nil, err
	}
	if c.CertAlt == "" && c.KeyAlt == "" {
		return newPair(first), nil
	}
	second, err := parse("cert_alt", "key_alt", c.CertAlt, c.KeyAlt)
	if err != nil {
		return nil, err
	}
	if entity.KeyType(first.Leaf.PublicKey) == entity.KeyType(second.Leaf.PublicKey) {
		return nil, fmt.Errorf("cert_alt: expected a key of another type than that of cert, both are %s", entity.KeyType(first.Leaf.PublicKey))
	}
	return newPair(first, second), nil
}

// parse reads one certificate chain and its key. tls.X509KeyPair also checks
// that they belong together.
func parse(certField, keyField, cert, key string) (*tls.Certificate, error) {
	if b, _ := pem.Decode([]byte(cert)); b == nil {
		return nil, fmt.Errorf("%s: expected a certificate in PEM form", certField)
	}
	if b, _ := pem.Decode([]byte(key)); b == nil {
		return nil, fmt.Errorf("%s: expected a private key in PEM form", keyField)
	}
	c, err := tls.X509KeyPair([]byte(cert), []byte(key))
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", certField, keyField, err)
	}
	return &c, nil
}

func newPair(cs ...*tls.Certificate) *Pair {
	if len(cs) == 2 && entity.KeyType(cs[0].Leaf.PublicKey) == "RSA" {
		cs[0], cs[1] = cs[1], cs[0]
	}
	h := sha256.New()
	for _, c := range cs {
		for _, der := range c.Certificate {
			h.Write(der)
		}
	}
	p := &Pair{certificates: cs}
	h.Sum(p.digest[:0])
	return p
}

// For chooses the certificate that the client of this handshake supports; if
// it supports both it gets ECDSA, which costs both sides less, and if it
// supports none the last, so that the handshake fails with the usual words.
func (p *Pair) For(hello *tls.ClientHelloInfo) *tls.Certificate {
	last := len(p.certificates) - 1
	if last > 0 {
		// Without the name: which pair serves it is decided already, and the
		// certificate need not bear it.
		h := *hello
		h.ServerName = ""
		for _, c := range p.certificates[:last] {
			if h.SupportsCertificate(c) == nil {
				return c
			}
		}
	}
	return p.certificates[last]
}

// Certificate is the one to show to a server that asks for one, where there is
// no choice to make: ECDSA if there are two.
func (p *Pair) Certificate() *tls.Certificate { return p.certificates[0] }

// Digest tells pairs with other certificates apart. It is the SHA-256 of the
// certificates, without the keys.
func (p *Pair) Digest() [sha256.Size]byte { return p.digest }
