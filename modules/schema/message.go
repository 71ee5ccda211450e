package schema

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// summary joins the messages of a field tree into one line, as Kong does:
// those about the entity first, then one for each field, in order, and for
// each member of a nested record or position (from 1) of a list. What is
// nested deeper is written as a Lua table.
func summary(fields Object) (string, int) {
	var parts []string
	if list, ok := fields["@entity"].([]any); ok {
		for _, m := range list {
			parts = append(parts, fmt.Sprint(m))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if name == "@entity" {
			continue
		}
		switch v := fields[name].(type) {
		case map[string]any:
			for _, sub := range slices.Sorted(maps.Keys(v)) {
				parts = append(parts, name+"."+sub+": "+text(v[sub]))
			}
		case []any:
			for i, e := range v {
				if e != nil {
					parts = append(parts, name+"."+strconv.Itoa(i+1)+": "+text(e))
				}
			}
		default:
			parts = append(parts, name+": "+text(v))
		}
	}
	return strings.Join(parts, "; "), len(parts)
}

func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return lua(v, "  ")
}

// lua writes a value as Penlight's pretty printer does, which is what Kong
// shows keys and nested messages with. With an empty indent it is all on one
// line.
func lua(v any, indent string) string {
	var b strings.Builder
	writeLua(&b, v, indent, "")
	return b.String()
}

func writeLua(b *strings.Builder, v any, indent, margin string) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case string:
		writeLuaString(b, v)
	case map[string]any:
		open := luaTable(b, indent, margin)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			open.next()
			if luaName(k) {
				b.WriteString(k)
			} else {
				b.WriteByte('[')
				writeLuaString(b, k)
				b.WriteByte(']')
			}
			b.WriteString(open.equals)
			writeLua(b, v[k], indent, margin+indent)
		}
		open.close()
	case []any:
		open := luaTable(b, indent, margin)
		gap := false
		for i, e := range v {
			if e == nil { // positions behind a gap are written out
				gap = true
				continue
			}
			open.next()
			if gap {
				b.WriteString("[" + strconv.Itoa(i+1) + "]" + open.equals)
			}
			writeLua(b, e, indent, margin+indent)
		}
		open.close()
	case float64:
		b.Write(appendFloat(nil, v))
	default:
		fmt.Fprint(b, v)
	}
}

// A luaWriter places the entries of one table.
type luaWriter struct {
	b              *strings.Builder
	indent, margin string
	equals         string
	entries        int
}

func luaTable(b *strings.Builder, indent, margin string) *luaWriter {
	b.WriteByte('{')
	equals := " = "
	if indent == "" {
		equals = "="
	}
	return &luaWriter{b, indent, margin, equals, 0}
}

func (w *luaWriter) next() {
	if w.entries > 0 {
		w.b.WriteByte(',')
	}
	w.entries++
	w.newline(w.margin + w.indent)
}

func (w *luaWriter) close() {
	w.newline(w.margin)
	w.b.WriteByte('}')
}

func (w *luaWriter) newline(margin string) {
	if w.indent != "" {
		w.b.WriteByte('\n')
		w.b.WriteString(margin)
	}
}

func writeLuaString(b *strings.Builder, s string) {
	if strings.Contains(s, "\n") && !strings.Contains(s, "\r") && !strings.Contains(s, "]]") {
		b.WriteString("[[")
		if s[0] == '\n' {
			b.WriteByte('\n')
		}
		b.WriteString(s)
		b.WriteString("]]")
		return
	}
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; c {
		case '"', '\\', '\n':
			b.WriteByte('\\')
			b.WriteByte(c)
		case '\r':
			b.WriteString(`\r`)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

var luaKeywords = strings.Fields("and break do else elseif end false for function goto if in local nil not or repeat return then true until while")

// luaName tells whether a key can be written without brackets.
func luaName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != "" && !slices.Contains(luaKeywords, s)
}
