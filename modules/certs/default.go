package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"time"

	"github.com/caddyserver/certmagic"
)

// Where the default certificates are kept in Caddy's storage. Each file holds
// a certificate and its key, so that the two cannot be of different make.
const (
	defaultECDSA = "gateway/default_certificate/ecdsa.pem"
	defaultRSA   = "gateway/default_certificate/rsa.pem"
	defaultLock  = "gateway_default_certificate"
)

const (
	defaultLifetime = 20 * 365 * 24 * time.Hour // as Kong's own
	renewBefore     = 365 * 24 * time.Hour      // longer than most processes run
)

// Default answers the certificates for clients that ask for no name, or for
// one that nothing else serves: self-signed, for localhost, ECDSA and RSA. They
// are made once and kept in the storage, so all nodes that share it show the
// same. A year before they expire, and if they are unreadable, they are made
// anew.
func Default(ctx context.Context, storage certmagic.Storage) (*Pair, error) {
	if p, err := loadDefault(ctx, storage); p != nil || err != nil {
		return p, err
	}
	if err := storage.Lock(ctx, defaultLock); err != nil {
		return nil, fmt.Errorf("default certificate: locking the storage: %w", err)
	}
	// The lock is given back even if ctx ended in the meantime.
	defer func() { _ = storage.Unlock(context.WithoutCancel(ctx), defaultLock) }()
	if p, err := loadDefault(ctx, storage); p != nil || err != nil {
		return p, err // another node was faster
	}
	for _, f := range []struct {
		key      string
		generate func() (crypto.Signer, error)
	}{
		{defaultECDSA, func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
		{defaultRSA, func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
	} {
		text, err := selfSigned(f.generate)
		if err != nil {
			return nil, fmt.Errorf("default certificate: %w", err)
		}
		if err := storage.Store(ctx, f.key, text); err != nil {
			return nil, fmt.Errorf("default certificate: storing %s: %w", f.key, err)
		}
	}
	p, err := loadDefault(ctx, storage)
	if p == nil && err == nil {
		err = errors.New("default certificate: the storage did not keep it")
	}
	return p, err
}

// loadDefault answers nil if the certificates must be made.
func loadDefault(ctx context.Context, storage certmagic.Storage) (*Pair, error) {
	var cs []*tls.Certificate
	for _, key := range []string{defaultECDSA, defaultRSA} {
		text, err := storage.Load(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("default certificate: loading %s: %w", key, err)
		}
		c, err := tls.X509KeyPair(text, text)
		if err != nil || time.Until(c.Leaf.NotAfter) < renewBefore {
			return nil, nil
		}
		cs = append(cs, &c)
	}
	return newPair(cs...), nil
}

// selfSigned makes a certificate for localhost, and its key, in PEM form.
func selfSigned(generate func() (crypto.Signer, error)) ([]byte, error) {
	key, err := generate()
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"Portcullis"}, CommonName: "localhost"},
		NotBefore:    now.Add(-24 * time.Hour), // for clients whose clock is behind
		NotAfter:     now.Add(defaultLifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},

		BasicConstraintsValid: true,
	}
	if _, ok := key.(*rsa.PrivateKey); ok {
		template.KeyUsage |= x509.KeyUsageKeyEncipherment // TLS 1.2 key exchange by RSA
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: der})
	_ = pem.Encode(&out, &pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	return out.Bytes(), nil
}
