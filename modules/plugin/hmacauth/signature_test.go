package hmacauth

import (
	"reflect"
	"testing"
)

// FuzzParse compares the short way with the expression that it stands for.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`hmac username="a", algorithm="b", headers="c d", signature="e"`,
		`Hmac username="a", algorithm="b", headers="c d", signature="e"`,
		`hmac username="a", algorithm="b", headers="c", signature="e" x`,
		`hmac username="a"b", algorithm="b", headers="c", signature="e"`,
		`hmac username="", algorithm="b", headers="c", signature="e"`,
		"hmac username=\"\n\", algorithm=\"b\", headers=\"c\", signature=\"e\"",
		`hmac username="a", algorithm="b", headers="c", signature="", headers="c", signature="e"`,
		``, `hmac`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		usual, ok := parseUsual(header)
		if !ok {
			return
		}
		m := form.FindStringSubmatch(header)
		if m == nil {
			t.Fatalf("%q: the short way reads %+v, the expression nothing", header, usual)
		}
		got := []string{usual.username, usual.algorithm, usual.value}
		if want := []string{m[1], m[2], m[4]}; !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %q, want %q", header, got, want)
		}
	})
}
