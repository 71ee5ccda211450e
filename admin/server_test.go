package admin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/portcullis-gateway/portcullis/modules/dns"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
	"github.com/portcullis-gateway/portcullis/modules/store/bolt"
	"github.com/portcullis-gateway/portcullis/modules/store/memory"
)

func TestMain(m *testing.M) {
	patient.NoLeaks(tests{m},
		// Caddy's cache of certificates lives as long as the process.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.(*Cache).maintainAssets"))
}

// tests are those of the package, behind which nothing is kept open.
type tests struct{ *testing.M }

func (t tests) Run() int {
	defer client.CloseIdleConnections()
	return t.M.Run()
}

// echo is a kind of plugin for the tests.
var echo = entity.PluginKind{
	Version:  "1.2.3",
	Priority: 10,
	Config: &schema.Fields{List: []schema.Field{
		{Name: "text", Kind: schema.String, Required: true},
		{Name: "times", Kind: schema.Integer, Required: true, Default: int64(1)},
		{Name: "loud", Kind: schema.Boolean, Required: true, Default: false},
		{Name: "headers", Kind: schema.Map, Keys: &schema.Field{Kind: schema.String}, Elem: &schema.Field{Kind: schema.String}},
	}},
}

// namesOnly resolves names without asking anyone: each has two addresses.
type namesOnly map[string]string

func (n namesOnly) Lookup(_ context.Context, name string) (*dns.Answer, error) {
	addr, err := netip.ParseAddr(n[name])
	if err != nil {
		return nil, &dns.Error{Name: name, NotFound: true, Reason: "no such host"}
	}
	return dns.NewAnswer("A", []dns.Record{{IP: addr}, {IP: addr.Next()}}, time.Now().Add(time.Hour)), nil
}

func openNode(t testing.TB, module store.Module) World {
	t.Helper()
	if err := module.(caddy.Provisioner).Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	n, err := node.Open(node.Config{
		Store:   module,
		Catalog: entity.NewCatalog(map[string]entity.PluginKind{"echo": echo}),
		Logger:  zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel)),

		Resolver: namesOnly{"a.test": "10.0.0.1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return nodeWorld{n}
}

// openDatabase answers a world that is kept in a file.
func openDatabase(t testing.TB) World {
	return openNode(t, &bolt.Store{Path: filepath.Join(t.TempDir(), "gateway.db")})
}

// openMemory answers a world without a database. Its content makes it
// different from all others.
func openMemory(t testing.TB) World {
	file := filepath.Join(t.TempDir(), "none.yml")
	text := "_format_version: '3.0'\n_comment: " + file + "\n"
	writeFile(t, file, text)
	return openNode(t, &memory.Store{File: file})
}

// everyHeader is what answers have by default.
const everyHeader = gateway.HeaderServer | gateway.HeaderAdminLatency

// newTestAPI answers an Admin API as the app makes it.
func newTestAPI(t testing.TB, w World) *API {
	return newAdminAPI(w, options{
		logger:  zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)),
		headers: everyHeader,
	})
}

// serveAdmin serves a world's Admin API on a loopback address, with the host
// console.test and the origin https://gui.test allowed.
func serveAdmin(t testing.TB, w World) (base string) {
	t.Helper()
	access, err := (&Access{Hosts: []string{"console.test"}, Origins: []string{"https://gui.test"}}).parse()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(&guard{access: access, api: newTestAPI(t, w), rebinding: true})
	t.Cleanup(server.Close)
	return server.URL
}

func TestTranscripts_database(t *testing.T) {
	runTranscripts(t, "testdata/database/*.txt", func(t *testing.T) World { return openDatabase(t) })
}

func TestTranscripts_withoutDatabase(t *testing.T) {
	runTranscripts(t, "testdata/dbless/*.txt", func(t *testing.T) World { return openMemory(t) })
}

// pems are certificates and keys in PEM form, by the names that transcripts
// use.
var pems = sync.OnceValue(func() map[string]string {
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	ecdsaKey, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	year := 365 * 24 * time.Hour
	public, _ := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	return map[string]string{
		"rsa_cert":        newCert(&rsaKey.PublicKey, rsaKey, false, year),
		"rsa_key":         keyPEM(rsaKey),
		"ecdsa_cert":      newCert(&ecdsaKey.PublicKey, ecdsaKey, false, year),
		"ecdsa_key":       keyPEM(ecdsaKey),
		"ca_cert":         newCert(&ecdsaKey.PublicKey, ecdsaKey, true, year),
		"expired_ca_cert": newCert(&ecdsaKey.PublicKey, ecdsaKey, true, -time.Hour),
		"public_key":      string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	}
})

func certificates(*testing.T) map[string]string {
	vars := make(map[string]string)
	for name, value := range pems() {
		vars[name] = value
	}
	return vars
}

func newCert(public, signer any, ca bool, lifetime time.Duration) string {
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(time.Now().UnixNano()),
		Subject:               pkix.Name{CommonName: "test"},
		NotBefore:             time.Now().Add(-48 * time.Hour),
		NotAfter:              time.Now().Add(lifetime),
		IsCA:                  ca,
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost"},
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, signer)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func keyPEM(key any) string {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
