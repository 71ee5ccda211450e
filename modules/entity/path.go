package entity

import "strings"

// NormalizePath brings the path of a request into the one form that routes
// are compared with. In this order: the query is cut off, percent-encoded
// characters are decoded, "." and ".." segments are resolved (RFC 3986,
// section 5.2.4), and repeated slashes become one.
//
// Encoded reserved characters stay encoded, with upper-case digits, since
// "/a%2Fb" and "/a/b" are different paths. The result may therefore hold
// spaces, quotes and any bytes but not a decoded reserved character; see
// [EscapePath] for the way back. A "%" that starts no valid triplet, which no
// HTTP server lets through, becomes "%25", so normalising twice changes nothing.
//
// The source is kong/tools/uri.lua. A path that is in normal form already is
// returned as it is, without an allocation.
func NormalizePath(raw string) string {
	if i := strings.IndexByte(raw, '?'); i >= 0 {
		raw = raw[:i]
	}
	if isNormalPath(raw) {
		return raw
	}
	return string(resolveSegments(decodePath(raw)))
}

// EscapePath makes a normalised path fit for a request line: bytes that
// neither RFC 3986 nor "%" allow in a path become "%XX", in upper case.
// What is encoded already stays as it is.
func EscapePath(path string) string {
	n := 0
	for i := range len(path) {
		if !allowedInPath[path[i]] {
			n++
		}
	}
	if n == 0 {
		return path
	}
	out := make([]byte, 0, len(path)+2*n)
	for i := range len(path) {
		if c := path[i]; allowedInPath[c] {
			out = append(out, c)
		} else {
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return string(out)
}

const (
	upperHex      = "0123456789ABCDEF"
	reservedChars = "!*'();:@&=+$,/?%#[]" // never decoded
	alphanumerics = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

var (
	reservedInPath = byteSet(reservedChars)
	allowedInPath  = byteSet(alphanumerics + "-_.~" + reservedChars)
)

func byteSet(chars string) (set [256]bool) {
	for i := range len(chars) {
		set[chars[i]] = true
	}
	return set
}

// isNormalPath reports whether p needs neither decoding nor resolving. It may
// say no to a path that turns out to be in normal form.
func isNormalPath(p string) bool {
	if p != "" && p[0] == '.' {
		return false
	}
	for i := range len(p) {
		switch p[i] {
		case '%':
			return false
		case '/':
			if rest := p[i+1:]; rest != "" && (rest[0] == '/' || isDotSegment(rest)) {
				return false
			}
		}
	}
	return true
}

// isDotSegment reports whether p starts with a "." or ".." segment.
func isDotSegment(p string) bool {
	n := 0
	for n < len(p) && n < 3 && p[n] == '.' {
		n++
	}
	return (n == 1 || n == 2) && (n == len(p) || p[n] == '/')
}

// decodePath decodes what is percent-encoded and not reserved.
func decodePath(p string) []byte {
	out := make([]byte, 0, len(p)+2)
	for i := 0; i < len(p); i++ {
		if p[i] != '%' {
			out = append(out, p[i])
			continue
		}
		var c byte
		ok := i+2 < len(p)
		if ok {
			hi, hiOK := unhex(p[i+1])
			lo, loOK := unhex(p[i+2])
			c, ok = hi<<4|lo, hiOK && loOK
		}
		switch {
		case !ok:
			out = append(out, "%25"...)
			continue
		case reservedInPath[c]:
			out = append(out, '%', upperHex[c>>4], upperHex[c&15])
		default:
			out = append(out, c)
		}
		i += 2
	}
	return out
}

func unhex(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

// resolveSegments removes dot segments and repeated slashes from p, in place.
// A ".." takes the segment before it along, and is dropped where there is none.
func resolveSegments(p []byte) []byte {
	out, rest := p[:0], p
	for len(rest) > 0 {
		slash := 0 // 1 if the segment starts with a slash
		if rest[0] == '/' {
			slash = 1
		}
		end := slash
		for end < len(rest) && rest[end] != '/' {
			end++
		}
		segment, last := rest[:end], end == len(rest)
		rest = rest[end:]

		switch string(segment[slash:]) {
		case "..":
			if slash == 1 {
				out = out[:max(0, lastSlash(out))]
			}
		case ".":
		case "":
			if !last { // the first of two slashes
				continue
			}
			out = append(out, '/')
			continue
		default:
			out = append(out, segment...)
			continue
		}
		// A dot segment at the end leaves its slash; a relative one goes with
		// the slash behind it, as in "../a".
		if last && slash == 1 {
			out = append(out, '/')
		}
		if slash == 0 && len(rest) > 0 {
			rest = rest[1:]
		}
	}
	return out
}

func lastSlash(p []byte) int {
	i := len(p) - 1
	for i >= 0 && p[i] != '/' {
		i--
	}
	return i
}
