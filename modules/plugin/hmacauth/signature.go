package hmacauth

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/plugin"
)

var hashes = map[string]func() hash.Hash{
	"hmac-sha1": sha1.New, "hmac-sha256": sha256.New, "hmac-sha384": sha512.New384, "hmac-sha512": sha512.New,
}

// algorithms are the names of all, in Kong's order.
func algorithms() []string { return slices.Sorted(maps.Keys(hashes)) }

// A signature is what the header says.
type signature struct {
	username, algorithm string
	headers             []string // what was signed, in order
	value               string   // base64
}

// form is where a signature begins. The members that follow have a fixed order,
// and each reaches as far as it can.
var form = regexp.MustCompile(`[Hh]mac\s*username="(.+)",\s*algorithm="(.+)",\s*headers="(.+)",\s*signature="(.+)"`)

// parse reads a signature (kong/plugins/hmac-auth/access.lua).
func parse(header string) (s signature, ok bool) {
	if s, ok = parseUsual(header); ok {
		return s, true
	}
	m := form.FindStringSubmatch(header)
	if m == nil {
		return s, false
	}
	return signature{m[1], m[2], strings.Split(m[3], " "), m[4]}, true
}

// parseUsual reads signatures as clients write them: one space between members,
// and no quotes in them.
func parseUsual(header string) (signature, bool) {
	var values [4]string
	rest := header
	for i, name := range [...]string{`hmac username="`, `, algorithm="`, `, headers="`, `, signature="`} {
		after, ok := strings.CutPrefix(rest, name)
		end := strings.IndexByte(after, '"')
		if !ok || end < 1 {
			return signature{}, false
		}
		values[i], rest = after[:end], after[end+1:]
	}
	if rest != "" || strings.ContainsAny(header, "\n\r") {
		return signature{}, false
	}
	return signature{values[0], values[1], strings.Split(values[2], " "), values[3]}, true
}

// signedText is what the client signed: a line for each name. Of a header that
// came several times it is the first value. A name for which there is no header
// may stand for the request's target or line.
func signedText(x *plugin.Exchange, names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteByte('\n')
		}
		value, ok := headerOf(x, name)
		switch {
		case ok:
			b.WriteString(name)
			b.WriteString(": ")
			b.WriteString(value)
		case name == "@request-target":
			b.WriteString(name)
			b.WriteString(": ")
			b.WriteString(strings.ToLower(x.Method()))
			b.WriteByte(' ')
			b.WriteString(target(x.Request()))
		case name == "request-line":
			r := x.Request()
			b.WriteString(r.Method)
			b.WriteByte(' ')
			b.WriteString(target(r))
			b.WriteString(" HTTP/")
			b.WriteString(strconv.Itoa(r.ProtoMajor))
			b.WriteByte('.')
			b.WriteString(strconv.Itoa(r.ProtoMinor))
		default:
			b.WriteString(name)
			b.WriteByte(':')
		}
	}
	return b.String()
}

// headerOf answers a header by its name, also those that net/http keeps
// elsewhere.
func headerOf(x *plugin.Exchange, name string) (string, bool) {
	key := http.CanonicalHeaderKey(name)
	if v := x.Values(key); len(v) > 0 {
		return v[0], true
	}
	switch r := x.Request(); {
	case key == "Host":
		return r.Host, r.Host != ""
	case key == "Content-Length" && r.ContentLength > 0:
		return strconv.FormatInt(r.ContentLength, 10), true
	case key == "Transfer-Encoding" && len(r.TransferEncoding) > 0:
		return r.TransferEncoding[0], true
	}
	return "", false
}

// target is path and query as the client wrote them.
func target(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	return r.URL.RequestURI()
}
