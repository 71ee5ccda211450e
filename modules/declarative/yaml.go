package declarative

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxSize is how many values a document may have once its aliases are written
// out, unless its text is so long that it needs more.
const maxSize = 10_000_000

// yamlReader turns YAML into a tree of nodes.
type yamlReader struct {
	report  func(line int, format string, args ...any)
	anchors map[*yaml.Node]*anchor
	size    int // values so far, those behind aliases counted each time
	limit   int
	depth   int
	skipped int        // lines before the text
	root    *yaml.Node // the content of the document, nil if it has none
}

// anchor is what aliases refer to. Nodes are never written, so all aliases
// share one.
type anchor struct {
	node node
	size int
	open bool // being read: an alias to it now would be a part of itself
}

// parseYAML reads text, which has to be one YAML document.
func parseYAML(text []byte, report func(line int, format string, args ...any)) (node, error) {
	if len(text) > pieceSize {
		var errs Errors
		if n, ok := parsePieces(text, pieceSize, errs.addf); ok {
			for _, p := range errs.Problems {
				report(p.Line, "%s", p.Message)
			}
			return n, nil
		}
	}
	r := &yamlReader{report: report, limit: max(maxSize, len(text))}
	n, next, err := r.document(text)
	if err == nil && next != nil && next.ShortTag() != "!!null" {
		report(next.Line, "a second document begins here, where one is expected")
	}
	return n, err
}

// document reads the first document of a text, and answers the content of the
// second one if there is one.
func (r *yamlReader) document(text []byte) (n node, second *yaml.Node, err error) {
	r.anchors, r.root = map[*yaml.Node]*anchor{}, nil
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return node{}, nil, nil
	} else if err != nil {
		return node{}, nil, yamlError(err, text)
	}
	if len(doc.Content) > 0 {
		r.root = doc.Content[0]
	}
	if n, err = r.read(&doc); err != nil {
		return node{}, nil, err
	}
	if err := dec.Decode(&next); errors.Is(err, io.EOF) {
		return n, nil, nil
	} else if err != nil {
		return node{}, nil, yamlError(err, text)
	}
	if len(next.Content) == 0 {
		return n, &next, nil
	}
	return n, next.Content[0], nil
}

func (r *yamlReader) read(y *yaml.Node) (node, error) {
	if r.depth++; r.depth > maxDepth {
		return node{}, &syntaxError{y.Line, fmt.Sprintf("nested deeper than %d levels", maxDepth)}
	}
	defer func() { r.depth-- }()
	if r.size++; r.size > r.limit {
		return node{}, &syntaxError{y.Line, fmt.Sprintf("more than %d values, most of them by aliases", r.limit)}
	}
	if y.Anchor == "" {
		return r.content(y)
	}
	a := &anchor{open: true}
	r.anchors[y] = a
	before := r.size
	var err error
	a.node, err = r.content(y)
	a.size = r.size - before
	a.open = false
	return a.node, err
}

func (r *yamlReader) content(y *yaml.Node) (node, error) {
	n := node{line: r.skipped + y.Line}
	switch y.Kind {
	case yaml.DocumentNode:
		if len(y.Content) == 0 {
			return n, nil
		}
		return r.read(y.Content[0])
	case yaml.AliasNode:
		a := r.anchors[y.Alias]
		if a == nil || a.open {
			return n, &syntaxError{y.Line, fmt.Sprintf("the anchor %q contains itself", y.Value)}
		}
		if r.size += a.size; r.size > r.limit {
			return n, &syntaxError{y.Line, fmt.Sprintf("more than %d values, most of them by aliases", r.limit)}
		}
		n.value = a.node.value
		return n, nil
	case yaml.SequenceNode:
		list := make([]node, len(y.Content))
		for i, c := range y.Content {
			var err error
			if list[i], err = r.read(c); err != nil {
				return n, err
			}
		}
		n.value = list
		return n, nil
	case yaml.MappingNode:
		return r.mapping(y)
	default:
		var err error
		n.value, err = scalar(y)
		return n, err
	}
}

func (r *yamlReader) mapping(y *yaml.Node) (node, error) {
	n := node{line: r.skipped + y.Line}
	m := make(members, 0, len(y.Content)/2)
	var merged []members
	for i := 0; i+1 < len(y.Content); i += 2 {
		key := y.Content[i]
		value, err := r.read(y.Content[i+1])
		if err != nil {
			return n, err
		}
		for key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		switch {
		case key.Kind != yaml.ScalarNode:
			return n, &syntaxError{key.Line, "expected a key that is a string"}
		case key.ShortTag() == "!!merge":
			from, err := sources(value)
			if err != nil {
				return n, err
			}
			merged = append(merged, from...)
		default:
			value.line = r.skipped + key.Line
			m = append(m, member{key.Value, value})
		}
	}
	m.checkDuplicates(r.report)
	if len(merged) > 0 {
		has := make(map[string]bool, len(m))
		for i := range m {
			has[m[i].key] = true
		}
		for _, from := range merged { // explicit keys win, then the first source that has the key
			for _, extra := range from {
				if !has[extra.key] {
					has[extra.key] = true
					m = append(m, extra)
				}
			}
		}
	}
	n.value = m
	return n, nil
}

// sources answers the mappings behind a merge key: one, or several in a list.
func sources(n node) ([]members, error) {
	switch v := n.value.(type) {
	case members:
		return []members{v}, nil
	case []node:
		var all []members
		for _, e := range v {
			m, ok := e.value.(members)
			if !ok {
				return nil, &syntaxError{e.line, "only mappings can be merged"}
			}
			all = append(all, m)
		}
		return all, nil
	}
	return nil, &syntaxError{n.line, "only mappings can be merged"}
}

// scalar gives a scalar its type. Kong's parser and decK read YAML 1.1, hence
// the further words for true and false.
func scalar(y *yaml.Node) (any, error) {
	switch y.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(y.Value, "true"), nil
	case "!!int":
		if v, err := strconv.ParseInt(strings.ReplaceAll(y.Value, "_", ""), 0, 64); err == nil {
			return v, nil
		}
		return number(y)
	case "!!float":
		return number(y)
	case "!!binary":
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(y.Value), ""))
		if err != nil {
			return nil, &syntaxError{y.Line, "the binary value is not base64"}
		}
		return string(data), nil
	}
	if y.Style == 0 {
		switch y.Value {
		case "yes", "Yes", "YES", "on", "On", "ON":
			return true, nil
		case "no", "No", "NO", "off", "Off", "OFF":
			return false, nil
		}
	}
	return y.Value, nil
}

func number(y *yaml.Node) (any, error) {
	v, err := strconv.ParseFloat(strings.ReplaceAll(y.Value, "_", ""), 64)
	if err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		return nil, &syntaxError{y.Line, fmt.Sprintf("number %s is out of range", y.Value)}
	}
	return v, nil
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?((?s).*)`)

// yamlError takes the line out of an error of the YAML library, which leaves
// it out for the first line and for some errors, and counts from 0 in errors
// of its parser (as opposed to its scanner).
func yamlError(err error, text []byte) error {
	found := yamlLine.FindStringSubmatch(err.Error())
	line, _ := strconv.Atoi(found[1])
	message := strings.TrimSpace(found[2])
	unknown, isAlias := strings.CutPrefix(message, "unknown anchor '")
	switch {
	case strings.HasPrefix(message, "did not find expected"), strings.HasPrefix(message, "found undefined tag"):
		line++
	case isAlias:
		name, _, _ := strings.Cut(unknown, "'")
		line = lineAt(text, bytes.Index(text, []byte("*"+name)))
	case message == "control characters are not allowed":
		line = lineAt(text, bytes.IndexFunc(text, isControl))
	}
	return &syntaxError{max(min(line, lineAt(text, len(text))), 1), message}
}

// isControl tells whether YAML allows the character only in an escape.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' && r != '\n' && r != '\r' ||
		r >= 0x7f && r < 0xa0 && r != 0x85 || r == 0xfffe || r == 0xffff
}

// lineAt answers the line of the byte at offset.
func lineAt(text []byte, offset int) int {
	return 1 + bytes.Count(text[:max(offset, 0)], []byte("\n"))
}
