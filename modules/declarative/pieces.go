package declarative

import (
	"bytes"

	"go.yaml.in/yaml/v3"
)

// pieceSize is how much YAML is read at a time, in bytes. The YAML library
// needs some twenty times as much memory for the nodes that it makes of a text.
const pieceSize = 1 << 20

// parsePieces reads a long text piece by piece: it cuts between the top-level
// keys, and between the elements of the lists below them, where the columns
// say that something new begins. Each piece is valid YAML of its own then.
//
// It answers false if a cut was not where it seemed, for example within quotes,
// or if the text is of another form or not valid. The text must then be read
// as a whole. A piece that begins or ends in the midst of something is never
// valid, so what is answered is what reading it as a whole would answer.
func parsePieces(text []byte, size int, report func(line int, format string, args ...any)) (node, bool) {
	if bytes.HasPrefix(text, []byte("<<")) || bytes.Contains(text, []byte("\n<<")) {
		return node{}, false // a merge at the top level would be about all pieces
	}
	if bytes.Count(text, []byte("\r")) != bytes.Count(text, []byte("\r\n")) ||
		bytes.ContainsFunc(text, func(r rune) bool { return r == 0x85 || r == 0x2028 || r == 0x2029 }) {
		return node{}, false // YAML has more line ends than we look for
	}
	var all members
	line := 1           // of the document
	var last *yaml.Node // the value of the last key
	keys := map[string]bool{}
	r := &yamlReader{report: report, limit: max(maxSize, len(text))}
	for start := 0; start < len(text); {
		end := start + cut(text[start:], size)
		n, second, err := r.document(text[start:end])
		if err != nil || second != nil || r.root == nil || r.root.Style&yaml.FlowStyle != 0 {
			return node{}, false
		}
		switch v := n.value.(type) {
		case members:
			if len(all) == 0 {
				line = n.line
			}
			if r.root.Column != 1 {
				return node{}, false
			}
			for _, m := range v {
				if keys[m.key] {
					return node{}, false
				}
				keys[m.key] = true
				all = append(all, m)
			}
			last = r.root.Content[len(r.root.Content)-1]
		case []node: // goes on with the list of the last key
			if last == nil || last.Kind != yaml.SequenceNode || last.Style&yaml.FlowStyle != 0 || last.Column != r.root.Column {
				return node{}, false
			}
			list := all[len(all)-1].value.([]node)
			all[len(all)-1].value = append(list, v...)
		default:
			return node{}, false
		}
		r.skipped += bytes.Count(text[start:end], []byte("\n"))
		start = end
	}
	return node{line, all}, len(all) > 0
}

// cut answers where the piece that text begins with may end: before the first
// line behind size bytes that has a key in the first column, or that begins an
// element of the list whose elements are the outermost.
func cut(text []byte, size int) int {
	column := -1 // of the list's elements
	for at := 0; at < len(text); {
		line := text[at:]
		next := len(text)
		if i := bytes.IndexByte(line, '\n'); i >= 0 {
			line, next = line[:i+1], at+i+1
		}
		rest := bytes.TrimLeft(line, " ")
		spaces := len(line) - len(rest)
		element := isIndicator(rest, '-')
		key := spaces == 0 && isKey(line)
		switch {
		case key && at >= size, element && spaces == column && at >= size:
			return at
		case key:
			column = -1
		case element && column < 0:
			column = spaces
		}
		at = next
	}
	return len(text)
}

// isIndicator tells whether a line begins with the character and then a space
// or nothing.
func isIndicator(line []byte, char byte) bool {
	return len(line) > 0 && line[0] == char && (len(line) == 1 || bytes.IndexByte([]byte(" \r\n"), line[1]) >= 0)
}

// isKey tells whether a line begins with a plain key.
func isKey(line []byte) bool {
	i := bytes.IndexByte(line, ':')
	for j := range max(i, 0) {
		if c := line[j]; c != '_' && (c < 'a' || c > 'z') {
			return false
		}
	}
	return i > 0 && isIndicator(line[i:], ':')
}
