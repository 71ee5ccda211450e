package http1

import (
	"net/http"
	"net/textproto"
	"strings"
)

// A Field is one field line of a head.
type Field struct{ Name, Value string }

// Fields are field lines in their order. Their names are tokens, spelled as
// net/http spells them, and there are no line breaks in their values, so that they
// can be written down as they are.
type Fields []Field

// Get is the value of the first field with the name; empty if there is none.
func (fs Fields) Get(name string) string {
	for i := range fs {
		if fs[i].Name == name {
			return fs[i].Value
		}
	}
	return ""
}

// Has reports whether there is a field with the name.
func (fs Fields) Has(name string) bool {
	for i := range fs {
		if fs[i].Name == name {
			return true
		}
	}
	return false
}

// Lookup answers the value of the first field with the name, and how many there are.
func (fs Fields) Lookup(name string) (first string, n int) {
	for i := range fs {
		if fs[i].Name == name {
			if n++; n == 1 {
				first = fs[i].Value
			}
		}
	}
	return first, n
}

// Values are those of all fields with the name; nil if there is none.
func (fs Fields) Values(name string) (values []string) {
	for i := range fs {
		if fs[i].Name == name {
			values = append(values, fs[i].Value)
		}
	}
	return values
}

// Without removes the fields with the name. It changes the list itself.
func (fs Fields) Without(name string) Fields {
	n := 0
	for i := range fs {
		if fs[i].Name != name {
			if n < i {
				fs[n] = fs[i]
			}
			n++
		}
	}
	return fs[:n]
}

// Put appends fields in the place of those that have the same names. It changes the
// list itself.
func (fs Fields) Put(fields ...Field) Fields {
	n := 0
	for i := range fs {
		if Fields(fields).Has(fs[i].Name) {
			continue
		}
		if n < i {
			fs[n] = fs[i]
		}
		n++
	}
	return append(fs[:n], fields...)
}

// Size is how many bytes the field lines take.
func (fs Fields) Size() (n int64) {
	for i := range fs {
		n += int64(len(fs[i].Name) + len(fs[i].Value) + len(": \r\n"))
	}
	return n
}

// HeaderSize is how many bytes the lines of a header take.
func HeaderSize(h http.Header) (n int64) {
	for name, values := range h {
		for _, v := range values {
			n += int64(len(name) + len(v) + len(": \r\n"))
		}
	}
	return n
}

// Append appends a field of anybody's, if its name is one. Line breaks in the value,
// which would make another line of it, become blanks.
func (fs Fields) Append(name, value string) Fields {
	if !token(name) {
		return fs
	}
	return append(fs, Field{name, unbroken(value)})
}

// AppendHeader appends the fields of a header in the same way.
func (fs Fields) AppendHeader(h http.Header) Fields {
	for name, values := range h {
		for _, v := range values {
			fs = fs.Append(name, v)
		}
	}
	return fs
}

// Header is the fields as net/http has them.
func (fs Fields) Header() http.Header { return (&Head{Fields: fs}).Header() }

// A Head is the fields of a message and, if somebody asks for it, the header that
// is made of them. Its memory can be used for one message after the other.
type Head struct {
	Fields
	header http.Header
	values []string
}

// maxSpare is how many fields a header may have had for its memory to be kept:
// to clear more costs more than to make it anew.
const maxSpare = 64

// Header makes a header of the fields. It is that of the call before, made anew.
func (h *Head) Header() http.Header {
	if h.header == nil || len(h.values) > maxSpare {
		h.header = make(http.Header, len(h.Fields))
	} else {
		clear(h.header)
	}
	h.CopyTo(h.header)
	return h.header
}

// CopyTo puts the fields into a header, in the place of those that have the same
// names there.
func (h *Head) CopyTo(to http.Header) {
	if len(to) > 0 {
		for i := range h.Fields {
			delete(to, h.Fields[i].Name)
		}
	}
	if n := len(h.Fields); n > cap(h.values) || n < len(h.values) {
		h.values = make([]string, n)
	} else {
		h.values = h.values[:n]
	}
	values := h.values
	for i := range h.Fields {
		f := &h.Fields[i]
		if known := to[f.Name]; known != nil {
			to[f.Name] = append(known, f.Value)
			continue
		}
		values[0] = f.Value
		to[f.Name] = values[:1:1]
		values = values[1:]
	}
}

// parse reads field lines in the place of those that the head has.
func (h *Head) parse(text string) (err error) {
	h.Fields, err = h.Fields[:0].parse(text)
	return err
}

// parse appends the field lines of a head or a trailer section, which ends with an
// empty line. Names become canonical, and values are parts of the text. It takes
// what RFC 9112, section 5 allows, and nothing else: no line folding, no white
// space around a name, no bare CR or LF, no control characters.
func (fs Fields) parse(text string) (Fields, error) {
	for at := 0; ; {
		if len(text)-at < 2 {
			return fs, bad("a field line has no end")
		}
		if text[at] == '\r' && text[at+1] == '\n' && at+2 == len(text) {
			return fs, nil
		}
		name, colon := fieldName(text[at:])
		if name == "" {
			return fs, bad("a field name has a character that is not allowed, or is none")
		}
		from := at + colon + 1
		for from < len(text) && (text[from] == ' ' || text[from] == '\t') {
			from++
		}
		end := from
		for end < len(text) && !controlBytes[text[end]] {
			end++
		}
		if len(text)-end < 2 || text[end] != '\r' || text[end+1] != '\n' {
			return fs, bad("a field value has a control character, or its line no end")
		}
		at = end + 2
		for end > from && (text[end-1] == ' ' || text[end-1] == '\t') {
			end--
		}
		fs = append(fs, Field{name, text[from:end]})
	}
}

// fieldName is the field name at the beginning of a line, as net/http spells it,
// and where the colon behind it is; empty if there is none. Most names come spelled
// like that, from software that writes them down once.
func fieldName(line string) (name string, colon int) {
	initial, asIs := true, true
	for i := range len(line) {
		c := line[i]
		if !tokenBytes[c] {
			if c != ':' {
				return "", 0
			}
			if !asIs {
				return textproto.CanonicalMIMEHeaderKey(line[:i]), i
			}
			return line[:i], i
		}
		if initial && 'a' <= c && c <= 'z' || !initial && 'A' <= c && c <= 'Z' {
			asIs = false
		}
		initial = c == '-'
	}
	return "", 0
}

// controlBytes are those that have no place in a field value: control characters
// but the tab.
var controlBytes = func() (t [256]bool) {
	for c := range byte(' ') {
		t[c] = c != '\t'
	}
	t[0x7f] = true
	return t
}()

// unbroken is a value without line breaks.
func unbroken(value string) string {
	if strings.IndexByte(value, '\n') >= 0 || strings.IndexByte(value, '\r') >= 0 {
		return breaks.Replace(value)
	}
	return value
}

var breaks = strings.NewReplacer("\r", " ", "\n", " ")

// A HeadReader has the head of a request as it was received: as a list. To make a
// header of it takes time, and few look at all of it.
type HeadReader interface{ RequestHead() *Head }

// A HeadWriter is a ResponseWriter that takes heads as they are sent: as lists.
type HeadWriter interface {
	http.ResponseWriter

	// WriteHead is WriteHeader for an answer with a body but no trailers, or without
	// one. Its fields but those of the connection are sent as they are, besides those that are in Header already
	// and have other names; nothing is guessed. The head is the writer's until the
	// handler has returned.
	WriteHead(status int, head *Head)
}

// WriteHead does what is told of HeadWriter with any ResponseWriter.
func WriteHead(w http.ResponseWriter, status int, head *Head) {
	if hw, ok := w.(HeadWriter); ok {
		hw.WriteHead(status, head)
		return
	}
	head.Expose(w.Header())
	w.WriteHeader(status)
}

// Expose puts the fields of an answer into its header, as CopyTo does. Nothing is to
// be guessed.
func (h *Head) Expose(to http.Header) {
	h.CopyTo(to)
	if len(to["Content-Type"]) == 0 {
		to["Content-Type"] = nil
	}
}

// Expand makes the header of a request that has none yet, for a handler that does
// not know of HeadReader.
func Expand(w http.ResponseWriter, r *http.Request) {
	if hr, ok := w.(HeadReader); ok && r.Header == nil {
		r.Header = hr.RequestHead().Header()
	}
}
