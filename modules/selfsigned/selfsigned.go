// Package selfsigned is for tests: it makes certificates that are their own
// authority.
package selfsigned

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// A Pair is a certificate with its key, good for an hour, for servers and for
// clients.
type Pair struct {
	tls.Certificate

	// Cert and Key are both in PEM form.
	Cert, Key string

	// Pool trusts it.
	Pool *x509.CertPool
}

// New makes a certificate with a common name, for DNS names.
func New(subject string, names ...string) *Pair {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: subject}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	must(err)
	p := &Pair{
		Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})),
		Pool: x509.NewCertPool(),
	}
	p.Certificate, err = tls.X509KeyPair([]byte(p.Cert), []byte(p.Key))
	must(err)
	p.Pool.AddCert(p.Leaf)
	return p
}

// Write writes cert.pem and key.pem into a folder, and answers where they are.
func (p *Pair) Write(dir string) (cert, key string) {
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(os.WriteFile(cert, []byte(p.Cert), 0o600))
	must(os.WriteFile(key, []byte(p.Key), 0o600))
	return cert, key
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
