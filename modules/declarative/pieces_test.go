package declarative

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// FuzzPieces compares texts read in pieces with the same read as a whole.
func FuzzPieces(f *testing.F) {
	for _, text := range []string{
		"a: 1\nb:\n- x\n- y: 1\n  z: [1, 2]\n- w\nc:\n  - p\n  - q\n",
		"a:\n  - |\n   - x\n  - 'p\n  - q'\n  - r\n",
		"a: |\n  - x\n  - y\nb: 1\n",
		"a: &x [1]\nb: *x\nc:\n- &x 2\n- *x\n- *x\n",
		"a: 1\n---\nb: 2\n",
		"---\na:\n- b\n...\n",
		"a: 1\na: 2\nb:\n- c\nb:\n- d\n",
		"a:\n- b\nc: \"d\n- e: \nf: g\"\nh:\n- i\n",
		"a:\n- b: c\n  d:\n  - e\n  - f\n- g: {h: 1,\n  i: 2}\n",
		"a:\n- - b\n  - c\n- - d\n",
		"# c\n\na:\n# d\n- b\n\n# e\n- c\n",
		"a:\n- - b\n# x\n- ? c\n  : d\n",
		"<<: {x: 1}\na:\n- b\n",
		"- a\n- b\nc:\n- d\n",
		"a: 'x\nb: y'\n", "a:\r\n- b\r\n- c\r\n", "a: >+\n\n\n- b\n- c\n",
	} {
		for size := range 12 {
			f.Add(text, size)
		}
	}
	f.Fuzz(func(t *testing.T, text string, size int) {
		var inPieces Errors
		n, ok := parsePieces([]byte(text), size, inPieces.addf)
		if !ok {
			return
		}
		var atOnce Errors
		whole, err := parseYAML([]byte(text), atOnce.addf)
		if err != nil {
			t.Fatalf("%q in pieces of %d is %v, as a whole an error: %v", text, size, n, err)
		}
		if !reflect.DeepEqual(n, whole) {
			t.Errorf("%q in pieces of %d is\n%v\nas a whole\n%v", text, size, n, whole)
		}
		inPieces.sort()
		atOnce.sort()
		if !reflect.DeepEqual(inPieces, atOnce) {
			t.Errorf("%q in pieces of %d: reported %v, want %v", text, size, inPieces, atOnce)
		}
	})
}

func TestParse_longYAML(t *testing.T) {
	text := manyRoutes(15_000, YAML)
	if len(text) < 2*pieceSize {
		t.Fatalf("%d bytes are too few", len(text))
	}
	var errs Errors
	whole := &yamlReader{report: errs.addf, limit: maxSize}
	want, _, err := whole.document(text)
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseYAML(text, errs.addf)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v; read in pieces it is different", err)
	}
	expect(t, "reports", len(errs.Problems), 0)

	// A repeated key and a mistake far behind are found where they are.
	lines := lineAt(text, len(text))
	doubled := append(text, "  - name: last\n    name: again\n    paths: last\n"...)
	_, err = Parse(doubled)
	expect(t, "repeated key", err.Error(), fmt.Sprintf("line %d: duplicate key \"name\" (first on line %d)", lines+1, lines))
	_, errs2 := parse(t, strings.Replace(string(doubled), "    name: again\n", "", 1)).Resolve(catalog, Options{})
	expect(t, "mistake", texts(errs2), []string{fmt.Sprintf("line %d: route \"last\": paths: expected an array", lines+1)})
}
