package entity

import (
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Kinds of fields that several entities share (kong/db/schema/typedefs.lua).

// protocols are all that services and routes may speak, in the order of
// messages.
var protocols = []string{"grpc", "grpcs", "http", "https", "tcp", "tls", "tls_passthrough", "udp"}

// HTTPProtocols are the protocols of plugins that name none.
var HTTPProtocols = []string{"grpc", "grpcs", "http", "https"}

func idField() schema.Field {
	return schema.Field{Name: "id", Kind: schema.String, UUID: true, Auto: schema.AutoID,
		Doc: "A string representing a UUID (universally unique identifier)."}
}

func createdAt() schema.Field {
	return schema.Field{Name: "created_at", Kind: schema.Integer, Timestamp: true, Auto: schema.AutoCreate,
		Doc: "When the entity was created, in seconds since the epoch."}
}

func updatedAt() schema.Field {
	return schema.Field{Name: "updated_at", Kind: schema.Integer, Timestamp: true, Auto: schema.AutoUpdate,
		Doc: "When the entity was last written, in seconds since the epoch."}
}

func tagsField() schema.Field {
	return schema.Field{Name: "tags", Kind: schema.Set,
		Doc:  "A set of strings for grouping and filtering.",
		Elem: &schema.Field{Kind: schema.String, Required: true, Rules: []schema.Rule{schema.Custom(checkTag)}}}
}

// utf8Name is a unique name that may stand in URLs.
func utf8Name(name string) schema.Field {
	return schema.Field{Name: name, Kind: schema.String, Unique: true,
		Doc:   "A unique string representing a UTF-8 encoded name.",
		Rules: []schema.Rule{schema.Custom(checkName)}}
}

func protocolField() schema.Field {
	return schema.Field{Name: "protocol", Kind: schema.String, OneOf: schema.Values(protocols...),
		Doc: "A string representing a protocol, such as HTTP or HTTPS."}
}

func hostField(name string) schema.Field {
	return schema.Field{Name: name, Kind: schema.String,
		Doc:   "A string representing a host name, such as example.com.",
		Rules: []schema.Rule{schema.Custom(checkHost)}}
}

func wildcardHost(name string) schema.Field {
	return schema.Field{Name: name, Kind: schema.String,
		Doc:   "A string representing a wildcard host name, such as *.example.com.",
		Rules: []schema.Rule{schema.Custom(checkWildcardHost)}}
}

func portField() schema.Field {
	return schema.Field{Name: "port", Kind: schema.Integer, Between: []float64{0, 65535},
		Doc: "An integer representing a port number between 0 and 65535, inclusive."}
}

func pathField(name string) schema.Field {
	return schema.Field{Name: name, Kind: schema.String,
		Doc:   "A string representing a URL path. It starts with a slash and has no empty segments.",
		Rules: []schema.Rule{schema.StartsWith("/"), noEmptySegments, schema.Custom(checkPath)}}
}

var noEmptySegments = schema.MatchNone("//", "must not have empty segments",
	func(s string) bool { return strings.Contains(s, "//") })

func headerName(name string) schema.Field {
	return schema.Field{Name: name, Kind: schema.String,
		Doc:   "A string representing an HTTP header name.",
		Rules: []schema.Rule{schema.Custom(checkHeaderName)}}
}

// headersField maps header names to lists of values.
func headersField(keyRules ...schema.Rule) schema.Field {
	key := headerName("")
	key.Rules = append(keyRules, key.Rules...)
	return schema.Field{Name: "headers", Kind: schema.Map, Keys: &key,
		Doc: "A map of header names to arrays of header values.",
		Elem: &schema.Field{Kind: schema.Array,
			Elem: &schema.Field{Kind: schema.String}}}
}

func foreign(name, table string, onDelete schema.OnDelete) schema.Field {
	return schema.Field{Name: name, Kind: schema.Foreign, Reference: table, OnDelete: onDelete}
}

func required(f schema.Field) schema.Field {
	f.Required = true
	return f
}

func withDefault(f schema.Field, v any) schema.Field {
	f.Default = v
	return f
}

func documented(f schema.Field, doc string) schema.Field {
	f.Doc = doc
	return f
}

func checkTag(s string) string {
	if msg := checkUTF8(s); msg != "" {
		return msg
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == ',' || c == '/' || c == 0x7f {
			return "invalid tag '" + s + "': expected printable ascii (except `,` and `/`) or valid utf-8 sequences"
		}
	}
	return ""
}

func checkName(s string) string {
	if msg := checkUTF8(s); msg != "" {
		return msg
	}
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '.' && c != '-' && c != '_' && c != '~' && c < utf8.RuneSelf {
			return "invalid value '" + s + "': the only accepted ascii characters are alphanumerics or ., -, _, and ~"
		}
	}
	return ""
}

func checkUTF8(s string) string {
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			return "invalid utf-8 character sequence detected at position " + strconv.Itoa(i+1)
		}
		i += size
	}
	return ""
}

func checkHeaderName(s string) string {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && c != '-' && c != '_' {
			return "bad header name '" + s + "', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
		}
	}
	return ""
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// checkPath wants the characters of RFC 3986, and percent signs only in front
// of two hexadecimal digits.
func checkPath(s string) string {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && strings.IndexByte("/.-_~%:@!$&'()*+,;=", c) < 0 {
			return "invalid path: '" + s + "' (characters outside of the reserved list of RFC 3986 found)"
		}
	}
	return checkPercent(s)
}

func checkPercent(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if i+2 >= len(s) || !hexadecimal(s[i+1]) || !hexadecimal(s[i+2]) {
			return "invalid url-encoded value: '" + s[i:min(i+3, len(s))] + "'"
		}
		i += 2
	}
	return ""
}

func hexadecimal(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

// checkRouterPath judges a route's path: a normalised prefix, or a regular
// expression behind "~".
func checkRouterPath(s string) string {
	regex := strings.HasPrefix(s, "~")
	// A path with characters that RFC 3986 does not know is not looked into
	// for its percent signs, as in Kong.
	if strings.IndexByte(s, '%') >= 0 && rfc3986(s) {
		if msg := checkPercent(s); msg != "" {
			return msg
		}
	}
	if !regex {
		if n := NormalizePath(s); n != s {
			return "non-normalized path, consider use '" + n + "' instead"
		}
		return ""
	}
	if err := checkRegex(s[1:]); err != "" {
		return "invalid regex: '" + s[1:] + "' (PCRE returned: " + err + ")"
	}
	return ""
}

func rfc3986(s string) bool {
	for i := range len(s) {
		if c := s[i]; !alphanumeric(c) && strings.IndexByte("/.-_~%:@!$&'()*+,;=", c) < 0 {
			return false
		}
	}
	return strings.HasPrefix(s, "/")
}

// checkRegex answers why a regular expression does not compile, or "".
func checkRegex(s string) string {
	_, err := regexp.Compile(s)
	if err == nil {
		return ""
	}
	if e, ok := err.(*syntax.Error); ok {
		return e.Code.String() + ": `" + e.Expr + "`"
	}
	return err.Error()
}
