package declarative

import (
	"bufio"
	"fmt"
	"regexp"
	"strings"
)

// yamlWriter writes block YAML in the manner of Kong's exports: two spaces a
// level, lists as far to the left as their key.
type yamlWriter struct {
	w   *bufio.Writer
	any bool
}

func (y *yamlWriter) begin(key string) {
	if !y.any {
		y.w.WriteString("_format_version: '3.0'\n_transform: false\n")
		y.any = true
	}
	if key != "" {
		y.w.WriteString(key + ":\n")
	}
}

func (y *yamlWriter) entity(m members) {
	y.w.WriteString("- ")
	y.members(m, 2, true)
}

func (y *yamlWriter) end() {}

func (y *yamlWriter) close() {
	if !y.any {
		y.begin("")
	}
}

// members writes a mapping, each member on a line of its own. The first one
// goes on with a line that is begun already if inline is set.
func (y *yamlWriter) members(m members, indent int, inline bool) {
	for i := range m {
		if i > 0 || !inline {
			y.indent(indent)
		}
		y.w.WriteString(scalarText(m[i].key, 0))
		y.w.WriteByte(':')
		switch v := m[i].value.(type) {
		case members:
			if len(v) > 0 {
				y.w.WriteByte('\n')
				y.members(v, indent+2, false)
				continue
			}
		case []node:
			if len(v) > 0 {
				y.w.WriteByte('\n')
				y.list(v, indent, false)
				continue
			}
		}
		y.scalar(m[i].value, indent)
	}
}

// list writes a sequence, as members does.
func (y *yamlWriter) list(list []node, indent int, inline bool) {
	for i := range list {
		if i > 0 || !inline {
			y.indent(indent)
		}
		y.w.WriteByte('-')
		switch v := list[i].value.(type) {
		case members:
			if len(v) > 0 {
				y.w.WriteByte(' ')
				y.members(v, indent+2, true)
				continue
			}
		case []node:
			if len(v) > 0 {
				y.w.WriteByte(' ')
				y.list(v, indent+2, true)
				continue
			}
		}
		y.scalar(list[i].value, indent)
	}
}

// scalar ends a line with a value, or goes on with the lines of a long text.
func (y *yamlWriter) scalar(v any, indent int) {
	y.w.WriteByte(' ')
	switch v := v.(type) {
	case members:
		y.w.WriteString("{}")
	case []node:
		y.w.WriteString("[]")
	case string:
		y.w.WriteString(scalarText(v, indent+2))
	default:
		y.w.WriteString(word(v))
	}
	y.w.WriteByte('\n')
}

func (y *yamlWriter) indent(n int) {
	for range n {
		y.w.WriteByte(' ')
	}
}

var (
	plainText = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./-]*$`)
	otherWord = regexp.MustCompile(`^(?i:true|false|yes|no|on|off|y|n|null|nan)$`)
)

// scalarText writes a string in the simplest way that is read back as the same
// string by parsers of YAML 1.1 and 1.2. The lines of a text, such as a
// certificate, are indented by indent; 0 means that the text has to stay on
// its line.
func scalarText(s string, indent int) string {
	switch {
	case isUUID(s), plainText.MatchString(s) && !otherWord.MatchString(s):
		return s
	case strings.IndexFunc(s, isSpecial) < 0:
		return "'" + strings.ReplaceAll(s, "'", "''") + "'"
	case indent > 0 && isLines(s):
		margin := "\n" + strings.Repeat(" ", indent)
		head, body := "|-", s
		if strings.HasSuffix(s, "\n") {
			head, body = "|", s[:len(s)-1]
		}
		return head + margin + strings.ReplaceAll(body, "\n", margin)
	default:
		return quote(s)
	}
}

// isLines tells whether s can be written as a literal block: lines of text
// that begin with neither space nor an empty line, and end with at most one
// line end.
func isLines(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r != '\n' && isSpecial(r) }) < 0 &&
		!strings.HasPrefix(s, " ") && !strings.HasPrefix(s, "\n") && !strings.HasSuffix(s, "\n\n")
}

// isSpecial tells whether a character needs an escape.
func isSpecial(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == 0xfffe || r == 0xffff
}

// quote writes a string in double quotes, with the escapes that JSON and YAML
// share.
func quote(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return r == '"' || r == '\\' || isSpecial(r) }) < 0 {
		return `"` + s + `"`
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case isSpecial(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
