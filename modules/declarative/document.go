// Package declarative reads and writes Kong's declarative configuration format.
//
// A text becomes a [Document] by Parse, which knows the line of everything in
// it. Resolve turns the document into flat, complete rows, or answers all that
// is wrong with it. Sync brings a store in line with the rows, Replace makes
// them its whole content, and Export writes a store's content as such a text
// again.
package declarative

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"unicode/utf8"
)

// EmptyHash is the hash of a configuration without any entity, and of a node
// that has not loaded one (Kong's DECLARATIVE_EMPTY_CONFIG_HASH).
const EmptyHash = "00000000000000000000000000000000"

// A Document is a configuration as someone wrote it, read but not understood
// yet. It does not change: several goroutines may resolve it.
type Document struct {
	root members
	line int
	hash string
}

// Parse reads a declarative configuration: JSON if the text is JSON, else
// YAML. An error is an *Errors.
//
// Keys must not be repeated and a text must not have more than one YAML
// document; Kong takes the last key and the first document in silence.
func Parse(text []byte) (*Document, error) {
	sum := md5.Sum(text)
	doc := &Document{hash: hex.EncodeToString(sum[:])}
	errs := &Errors{unreadable: true}
	root, err := read(bytes.TrimPrefix(text, []byte("\ufeff")), errs)
	m, ok := root.value.(members)
	switch {
	case err != nil:
		var syntax *syntaxError
		errors.As(err, &syntax)
		errs.addf(syntax.line, "%s", syntax.message)
	case root.value == nil: // a parser may place it behind the end
		errs.addf(1, "expected an object")
	case !ok:
		errs.addf(root.line, "expected an object")
	}
	if errs.sort(); len(errs.Problems) > 0 {
		return nil, errs
	}
	doc.root, doc.line = m, root.line
	return doc, nil
}

// FromObject makes a document of values that have no text of their own, such
// as those of a form. Nothing in it has a line, and it has no hash.
func FromObject(o map[string]any) *Document {
	n := fromPlain(o)
	return &Document{root: n.value.(members)}
}

// Hash answers the MD5 sum of the text, in hexadecimal. It is empty for a
// document that was made of an object. What a node has loaded has HashOf.
func (d *Document) Hash() string { return d.hash }

// read tries JSON if the text looks like it, then YAML, of which most JSON is
// a part.
func read(text []byte, errs *Errors) (node, error) {
	for at := 0; at < len(text); {
		char, size := utf8.DecodeRune(text[at:])
		if char == utf8.RuneError && size == 1 {
			return node{}, &syntaxError{lineAt(text, at), "invalid UTF-8"}
		}
		at += size
	}
	start := bytes.TrimLeft(text, " \t\r\n")
	if len(start) == 0 || start[0] != '{' && start[0] != '[' {
		return parseYAML(text, errs.addf)
	}
	var repeated Errors
	n, err := parseJSON(string(text), repeated.addf)
	if err != nil {
		if n, err := parseYAML(text, errs.addf); err == nil {
			return n, nil
		}
	}
	errs.Problems = append(errs.Problems, repeated.Problems...)
	return n, err
}
