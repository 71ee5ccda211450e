package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/certmagic"
	"github.com/google/uuid"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// made holds one PEM text (certificate and key) per key type; making keys is
// slow.
var made = struct {
	ecdsa, rsa func() string
}{
	ecdsa: sync.OnceValue(func() string {
		return generated(func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) })
	}),
	rsa: sync.OnceValue(func() string {
		return generated(func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) })
	}),
}

func generated(key func() (crypto.Signer, error)) string {
	text, err := selfSigned(key)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func certificate(id byte) *entity.Certificate {
	return &entity.Certificate{ID: uuid.UUID{id}, Cert: made.ecdsa(), Key: made.ecdsa()}
}

func TestLookup_kongsOrder(t *testing.T) {
	names := []string{"exact.example.com", "*.example.com", "exact.example.*", "shop.*", "*"}
	e := New().Edit()
	for i, name := range names {
		if err := e.SetCertificate(certificate(byte(i + 1))); err != nil {
			t.Fatal(err)
		}
		e.SetSNI(&entity.SNI{Name: name, Certificate: entity.Ref{ID: uuid.UUID{byte(i + 1)}}})
	}
	s := e.Set()
	for _, tt := range []struct{ name, want string }{
		{"exact.example.com", "exact.example.com"},
		{"EXACT.example.COM", "exact.example.com"},
		{"exact.example.com.", "exact.example.com"},
		{"other.example.com", "*.example.com"},
		{"exact.example.org", "exact.example.*"},
		{"shop.org", "shop.*"},
		{"a.b.example.com", "*"},
		{"example.com", "*"},
		{"localhost", "*"},
		{"", ""},
	} {
		p, ok := s.Lookup(tt.name)
		if tt.want == "" {
			if ok {
				t.Errorf("%q: got a pair, want none", tt.name)
			}
			continue
		}
		want, _ := s.named(tt.want)
		if p != want || p == nil {
			t.Errorf("%q: got another pair than that of %q", tt.name, tt.want)
		}
	}
}

func TestEdit_leavesTheOldSetAsItWas(t *testing.T) {
	e := New().Edit()
	if err := e.SetCertificate(certificate(1)); err != nil {
		t.Fatal(err)
	}
	e.SetSNI(&entity.SNI{Name: "a.example", Certificate: entity.Ref{ID: uuid.UUID{1}}})
	before := e.Set()

	e = before.Edit()
	e.RemoveCertificate(uuid.UUID{1})
	e.RemoveSNI(&entity.SNI{Name: "A.example"})
	after := e.Set()

	if _, ok := before.Lookup("a.example"); !ok {
		t.Error("the old set lost the name")
	}
	if _, ok := after.Lookup("a.example"); ok {
		t.Error("the new set still has the name")
	}
}

func TestEdit_brokenCertificateIsReportedAndPassedOver(t *testing.T) {
	e := New().Edit()
	if err := e.SetCertificate(certificate(1)); err != nil {
		t.Fatal(err)
	}
	if err := e.SetCertificate(certificate(2)); err != nil {
		t.Fatal(err)
	}
	e.SetSNI(&entity.SNI{Name: "a.example.com", Certificate: entity.Ref{ID: uuid.UUID{1}}})
	e.SetSNI(&entity.SNI{Name: "*.example.com", Certificate: entity.Ref{ID: uuid.UUID{2}}})
	broken := certificate(1)
	broken.Cert = "-----"
	if err := e.SetCertificate(broken); err == nil || !strings.HasPrefix(err.Error(), "cert:") {
		t.Errorf("got error %v, want one about the field cert", err)
	}
	s := e.Set()
	got, _ := s.Lookup("a.example.com")
	if want, _ := s.ByID(uuid.UUID{2}); got != want || got == nil {
		t.Error("a name with a broken certificate did not fall to the wildcard")
	}
}

func TestParse_errors(t *testing.T) {
	ec, rs := made.ecdsa(), made.rsa()
	for _, tt := range []struct {
		name string
		in   entity.Certificate
		want string
	}{
		{"no key", entity.Certificate{Cert: ec}, "key: expected"},
		{"key of another certificate", entity.Certificate{Cert: ec, Key: onlyKey(t, rs)}, "cert, key: "},
		{"alternative without a key", entity.Certificate{Cert: ec, Key: ec, CertAlt: rs}, "key_alt: expected"},
		{"two of one type", entity.Certificate{Cert: ec, Key: ec, CertAlt: ec, KeyAlt: ec}, "both are ECDSA"},
	} {
		if _, err := Parse(&tt.in); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// onlyKey cuts the certificate off a text.
func onlyKey(t *testing.T, text string) string {
	t.Helper()
	_, rest := pem.Decode([]byte(text))
	return string(rest)
}

func TestCertificate_byWhatTheClientSupports(t *testing.T) {
	e := New().Edit()
	// RSA first, as an operator may well write it.
	err := e.SetCertificate(&entity.Certificate{
		ID: uuid.UUID{1}, Cert: made.rsa(), Key: made.rsa(), CertAlt: made.ecdsa(), KeyAlt: made.ecdsa(),
	})
	if err != nil {
		t.Fatal(err)
	}
	e.SetSNI(&entity.SNI{Name: "other.example", Certificate: entity.Ref{ID: uuid.UUID{1}}}) // not a name in the certificates
	s := e.Set()
	for _, tt := range []struct {
		name   string
		client *tls.Config
		want   string
	}{
		{"any", &tls.Config{}, "ECDSA"},
		{"rsa only", &tls.Config{
			MaxVersion:   tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256},
		}, "RSA"},
		{"ecdsa only", &tls.Config{
			MaxVersion:   tls.VersionTLS12,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		}, "ECDSA"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.client.InsecureSkipVerify = true
			tt.client.ServerName = "other.example"
			leaf := shake(t, s, tt.client).PeerCertificates[0]
			if got := leaf.PublicKeyAlgorithm.String(); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// shake does a real handshake against the set.
func shake(t *testing.T, s *Set, client *tls.Config) tls.ConnectionState {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = tls.Server(b, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.Certificate(h, nil), nil
		}}).Handshake()
	})
	c := tls.Client(a, client)
	err := c.Handshake()
	a.Close()
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState()
}

func TestCertificate_defaultServesWhatNoNameDoes(t *testing.T) {
	def, err := Parse(certificate(9))
	if err != nil {
		t.Fatal(err)
	}
	s := New()
	for _, name := range []string{"", "unknown.example"} {
		if got := s.Certificate(&tls.ClientHelloInfo{ServerName: name}, def); got != def.certificates[0] {
			t.Errorf("%q: got %v, want the default", name, got)
		}
	}
	if got := s.Certificate(&tls.ClientHelloInfo{}, nil); got != nil {
		t.Errorf("without a default the set answered %v", got)
	}
}

func TestDefault_madeOnceForAllNodesOfAStorage(t *testing.T) {
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	pairs := make([]*Pair, 4)
	var wg sync.WaitGroup
	for i := range pairs {
		wg.Go(func() {
			p, err := Default(context.Background(), storage)
			if err != nil {
				t.Error(err)
			}
			pairs[i] = p
		})
	}
	wg.Wait()
	for _, p := range pairs {
		if p.Digest() != pairs[0].Digest() {
			t.Fatal("two nodes have different default certificates")
		}
	}
	if n := len(pairs[0].certificates); n != 2 {
		t.Errorf("got %d certificates, want ECDSA and RSA", n)
	}
}

func TestDefault_unreadableIsMadeAnew(t *testing.T) {
	ctx := context.Background()
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	first, err := Default(ctx, storage)
	if err != nil {
		t.Fatal(err)
	}
	if err := storage.Store(ctx, defaultRSA, []byte("cut short")); err != nil {
		t.Fatal(err)
	}
	second, err := Default(ctx, storage)
	if err != nil {
		t.Fatal(err)
	}
	if first.Digest() == second.Digest() {
		t.Error("got the old pair")
	}
}

// BenchmarkEdit shows that a change costs the same in a large set.
func BenchmarkEdit(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprintf("names=%d", n), func(b *testing.B) {
			e := New().Edit()
			for i := range n {
				id := uuid.NewSHA1(uuid.Nil, fmt.Append(nil, i))
				e.pairs.Put(string(id[:]), &Pair{})
				e.SetSNI(&entity.SNI{Name: fmt.Sprintf("host%d.example.com", i), Certificate: entity.Ref{ID: id}})
			}
			s := e.Set()
			b.ReportAllocs()
			for b.Loop() {
				e := s.Edit()
				e.SetSNI(&entity.SNI{Name: "host5.example.com", Certificate: entity.Ref{ID: uuid.UUID{1}}})
				s = e.Set()
			}
		})
	}
}
