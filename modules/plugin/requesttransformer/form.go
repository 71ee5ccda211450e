package requesttransformer

import (
	"bytes"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/transform"
)

// A form is a body of the type multipart/form-data. Parts that are not changed
// stay as they are.
type form struct {
	boundary string
	parts    []formPart
}

type formPart struct {
	name    string
	header  textproto.MIMEHeader
	content []byte
}

func parseForm(body []byte, boundary string) (*form, error) {
	f := &form{boundary: boundary}
	if err := multipart.NewWriter(io.Discard).SetBoundary(boundary); err != nil {
		return nil, err
	}
	if len(body) == 0 {
		return f, nil
	}
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := r.NextRawPart()
		if err == io.EOF {
			return f, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(part)
		if err != nil {
			return nil, err
		}
		f.parts = append(f.parts, formPart{part.FormName(), part.Header, content})
	}
}

func (f *form) bytes() []byte {
	var out bytes.Buffer
	w := multipart.NewWriter(&out)
	_ = w.SetBoundary(f.boundary) // it was judged before; writes to a buffer do not fail
	for _, p := range f.parts {
		to, _ := w.CreatePart(p.header)
		_, _ = to.Write(p.content)
	}
	_ = w.Close()
	return out.Bytes()
}

// disposition is the header of a part with that name, in the form in which
// browsers write it: servers may want the quotes, and know no other coding.
func disposition(name string, params map[string]string) textproto.MIMEHeader {
	value := `form-data; name="` + quotes.Replace(name) + `"`
	for _, param := range slices.Sorted(maps.Keys(params)) {
		if param != "name" {
			value += "; " + param + `="` + quotes.Replace(params[param]) + `"`
		}
	}
	return textproto.MIMEHeader{"Content-Disposition": {value}}
}

var quotes = strings.NewReplacer(`"`, "%22", "\r", "%0D", "\n", "%0A")

func (f *form) find(name string) int {
	return slices.IndexFunc(f.parts, func(p formPart) bool { return p.name == name })
}

// Has reports whether there is such a part.
func (f *form) Has(name string) bool { return f.find(name) >= 0 }

// Remove drops all parts of the name.
func (f *form) Remove(name string) {
	f.parts = slices.DeleteFunc(f.parts, func(p formPart) bool { return p.name == name })
}

// Rename gives the parts another name, in place of those that had it before.
func (f *form) Rename(from, to string) {
	if from == to {
		return
	}
	f.Remove(to)
	for i := range f.parts {
		p := &f.parts[i]
		if p.name != from {
			continue
		}
		_, params, _ := mime.ParseMediaType(p.header.Get("Content-Disposition"))
		p.name = to
		p.header["Content-Disposition"] = disposition(to, params)["Content-Disposition"]
	}
}

// Set makes a plain part of the value, where the first one stood or at the end.
func (f *form) Set(name, value string) {
	part := formPart{name, disposition(name, nil), []byte(value)}
	i := f.find(name)
	if i < 0 {
		f.parts = append(f.parts, part)
		return
	}
	f.Remove(name)
	f.parts = slices.Insert(f.parts, min(i, len(f.parts)), part)
}

// Append does nothing: as in Kong, forms of several parts know no lists.
func (f *form) Append(string, string) {}

// Interface guard
var _ transform.Bag[string] = (*form)(nil)
