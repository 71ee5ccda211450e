package store_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/selfsigned"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// pair is a certificate and its key, in PEM form.
func pair() (cert, key string) {
	p := selfsigned.New("test")
	return p.Cert, p.Key
}

func TestCertificates_ownTheirSNIs(t *testing.T) {
	cert, key := pair()
	s := begin(t, empty())
	show := func(step string, got object, want ...any) {
		t.Helper()
		want = append([]any{}, want...)
		if !cmp.Equal(want, got["snis"]) {
			t.Errorf("%s: snis are %v, want %v", step, got["snis"], want)
		}
		row, _ := s.tx.Image().Get("certificates", num(1))
		if stored := s.tx.Image().Object("certificates", row)["snis"]; !cmp.Equal(want, stored) {
			t.Errorf("%s: stored snis are %v, want %v", step, stored, want)
		}
	}
	byID := store.Key{ID: num(1)}
	show("insert without", s.insert("certificates", object{"id": str(1), "cert": cert, "key": key}))
	show("update", s.update("certificates", byID, object{"snis": []any{"b.com", "a.com"}}), "a.com", "b.com")

	kept, _ := s.tx.Image().ByKey("snis", "name", "b.com")
	show("replace", s.update("certificates", byID, object{"snis": []any{"b.com", "*.c.com"}}), "*.c.com", "b.com")
	if again, _ := s.tx.Image().ByKey("snis", "name", "b.com"); again != kept {
		t.Error("the SNI that stayed was written again")
	}
	show("update of something else", s.update("certificates", byID, object{"tags": []any{"x"}}), "*.c.com", "b.com")
	s.insert("snis", object{"name": "d.com", "certificate": ref(1)})
	show("SNI made by itself", s.update("certificates", byID, object{}), "*.c.com", "b.com", "d.com")
	show("null", s.update("certificates", byID, object{"snis": nil}))
	show("update again", s.update("certificates", byID, object{"snis": []any{"a.com"}}), "a.com")

	obj, _, err := s.tx.Upsert("certificates", byID, object{"cert": cert, "key": key})
	if err != nil {
		t.Fatal(err)
	}
	show("upsert without", obj)
	show("update once more", s.update("certificates", byID, object{"snis": []any{"a.com"}}), "a.com")
	s.delete("certificates", num(1))
	if n := s.tx.Image().Len("snis"); n != 0 {
		t.Errorf("%d SNIs are left after their certificate", n)
	}
	if changes := s.tx.Changes(); len(changes) != 0 {
		t.Errorf("nothing is left, and yet there are changes: %v", summary(changes))
	}
}

func TestCertificates_refuseNames(t *testing.T) {
	cert, key := pair()
	s := begin(t, empty())
	s.insert("certificates", object{"id": str(1), "cert": cert, "key": key, "snis": []any{"a.com"}})
	s.insert("certificates", object{"id": str(2), "cert": cert, "key": key})
	base := s.tx.Image()
	taken := "a.com already associated with existing certificate '" + str(1) + "'"
	for _, tt := range []struct {
		name    string
		write   func(tx *store.Tx) error
		message string
	}{
		{"twice in the list", func(tx *store.Tx) error {
			_, err := tx.Insert("certificates", object{"cert": cert, "key": key, "snis": []any{"x.com", "y.com", "x.com"}})
			return err
		}, "x.com is duplicated"},
		{"of another certificate, on insert", func(tx *store.Tx) error {
			_, err := tx.Insert("certificates", object{"cert": cert, "key": key, "snis": []any{"x.com", "a.com"}})
			return err
		}, taken},
		{"of another certificate, on update", func(tx *store.Tx) error {
			_, err := tx.Update("certificates", store.Key{ID: num(2)}, object{"snis": []any{"a.com"}})
			return err
		}, taken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tx := store.Begin(base, store.Options{Now: now})
			refused(t, tt.write(tx), 2, "schema violation (snis: "+tt.message+")", object{"snis": tt.message})
			if changes := tx.Changes(); len(changes) > 0 {
				t.Errorf("the refused write left changes: %v", summary(changes))
			}
		})
	}
}

func TestCACertificates_staysWhileNamed(t *testing.T) {
	cert, _ := pair()
	s := begin(t, empty())
	s.insert("ca_certificates", object{"id": str(1), "cert": cert})
	s.insert("services", object{"id": str(2), "url": "https://a", "ca_certificates": []any{str(1)}})
	_, err := s.tx.Delete("ca_certificates", store.Key{ID: num(1)})
	refused(t, err, 19, "ca certificate "+str(1)+" is still referenced by services (id = "+str(2)+")", nil)
	s.delete("services", num(2))
	s.delete("ca_certificates", num(1))

	s.insert("ca_certificates", object{"id": str(3), "cert": cert})
	_, err = s.tx.Insert("ca_certificates", object{"cert": cert})
	digest := names(s.tx.Image(), "ca_certificates", "cert_digest")[0].(string)
	refused(t, err, 5, `UNIQUE violation detected on '{cert_digest="`+digest+`"}'`, object{"cert_digest": digest})
}

func TestPlugins_protocolsFitTheirRoute(t *testing.T) {
	s := begin(t, empty())
	s.insert("services", object{"id": str(1), "host": "a"})
	s.insert("plugins", object{"id": str(3), "name": "tcp-only", "service": ref(1)}) // a service without routes
	s.delete("plugins", num(3))
	s.insert("routes", object{"id": str(2), "paths": []any{"/"}, "service": ref(1)})
	for _, tt := range []struct{ field, message string }{
		{"route", "must match the associated route's protocols"},
		{"service", "must match the protocols of at least one route pointing to this Plugin's service"},
	} {
		in := object{"name": "tcp-only", tt.field: ref(map[string]byte{"route": 2, "service": 1}[tt.field])}
		_, err := s.tx.Insert("plugins", in)
		refused(t, err, 2, "schema violation (protocols: "+tt.message+")", object{"protocols": tt.message})
	}
	s.insert("routes", object{"protocols": []any{"tls"}, "snis": []any{"a.com"}, "service": ref(1)})
	s.insert("plugins", object{"name": "tcp-only", "service": ref(1)})
}
