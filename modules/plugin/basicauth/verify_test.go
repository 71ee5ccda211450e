package basicauth

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSeal holds what stored passwords rely on.
func TestSeal(t *testing.T) {
	first := seal("secret", "")
	if got := seal(first, ""); got != first {
		t.Errorf("a hash was hashed: %s", got)
	}
	if got := seal("secret", first); got != first {
		t.Error("the same password was hashed again")
	}
	other := seal("secrets", first)
	if other == first || other == seal("secrets", "") {
		t.Error("another password, or no password before, and the same hash")
	}
	if strings.Contains(first, "secret") {
		t.Error("the password is in the hash")
	}
	h, err := parse(first)
	if err != nil {
		t.Fatal(err)
	}
	if !h.matches("secret", "") || h.matches("Secret", "") || h.matches("", "") {
		t.Error("the hash is not of the password")
	}
}

// TestVerify counts the slow checks by their time: what is remembered takes none.
func TestVerify(t *testing.T) {
	c := &Credential{Password: seal("secret", "")}
	ctx := t.Context()
	var g sync.WaitGroup
	for i := range 40 { // races are found by the detector
		g.Go(func() {
			password := []string{"secret", "wrong"}[i%2]
			if ok, err := c.verify(ctx, password); err != nil || ok != (password == "secret") {
				t.Errorf("%s: %t %v", password, ok, err)
			}
		})
	}
	g.Wait()
	for range cap(slots) { // nothing slow can run now
		slots <- struct{}{}
	}
	defer func() {
		for range cap(slots) {
			<-slots
		}
	}()
	if ok, err := c.verify(ctx, "secret"); !ok || err != nil {
		t.Errorf("the right password is not remembered: %t %v", ok, err)
	}
	if ok, err := c.verify(ctx, "wrong"); ok || err != nil {
		t.Errorf("the wrong password is not remembered: %t %v", ok, err)
	}
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	if ok, err := c.verify(short, "another"); ok || err == nil {
		t.Errorf("a client that left was waited for: %t %v", ok, err)
	}
}

// FuzzDecode: what is decoded is what was encoded.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{"Basic YTpi", "basic  YTpi", "Basic", "x", "Basic OmE6Yg==", "Basic ////"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		username, _, ok := decode(header)
		if ok && (username == "" || strings.Contains(username, ":")) {
			t.Errorf("%q: username %q", header, username)
		}
	})
}

// BenchmarkCheck is what a password costs that is not remembered.
func BenchmarkCheck(b *testing.B) {
	h, err := parse(seal("secret", ""))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		h.matches("secret", "")
	}
}
