package admin

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// maxDepth bounds the nesting that the name of a form field can ask for.
// Deeper names are taken literally.
const maxDepth = 32

// nest turns the flat fields of a form into an object
// (kong/api/arguments_decoder.lua):
//
//	service.id=U              {"service": {"id": "U"}}
//	config[a.b]=v             {"config": {"a.b": "v"}}
//	paths[]=/a, paths=/a      {"paths": ["/a"]}, {"paths": "/a"}
//	paths=/a&paths=/b         {"paths": ["/a", "/b"]}
//	paths[2]=/b&paths[1]=/a   {"paths": ["/a", "/b"]}
//
// The values stay as they are; types are for the table that knows the fields.
func nest(args arguments) schema.Object {
	root := new(formNode)
	for _, arg := range args {
		at := root
		for _, s := range formPath(arg.name) {
			at = at.child(s)
		}
		at.values = append(at.values, arg.value)
	}
	o, _ := root.value().(schema.Object)
	if o == nil {
		o = schema.Object{}
	}
	return o
}

// A formStep is one step of the way that a field's name describes.
type formStep struct {
	name  string // of an object's field
	index int    // of a list's item, when name is empty; 0: a new one
}

// formPath splits the name of a form field into its steps. Names that do not
// follow the grammar are one step.
func formPath(name string) []formStep {
	literal := []formStep{{name: name}}
	if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
		return literal
	}
	s := unescapeBrackets(name)
	if s == "" {
		return literal
	}
	end := delimiter(s)
	steps := []formStep{{name: s[:end]}}
	for s = s[end:]; s != ""; s = s[end:] {
		if len(steps) == maxDepth {
			return literal
		}
		if s[0] == '.' {
			end = delimiter(s)
			if end > 1 {
				steps = append(steps, formStep{name: s[1:end]})
			}
			continue
		}
		closing := strings.IndexByte(s, ']')
		if s[0] != '[' || closing < 0 {
			return literal
		}
		end = closing + 1
		inner := s[1:closing]
		index, err := strconv.Atoi(inner)
		switch {
		case inner == "":
			steps = append(steps, formStep{})
		case err == nil && index > 0:
			steps = append(steps, formStep{index: index})
		default:
			steps = append(steps, formStep{name: inner})
		}
	}
	return steps
}

// delimiter answers where the next step begins, behind the first byte.
func delimiter(s string) int {
	if i := strings.IndexAny(s[1:], ".["); i >= 0 {
		return 1 + i
	}
	return len(s)
}

// unescapeBrackets decodes brackets that were encoded twice.
func unescapeBrackets(s string) string {
	if !strings.Contains(s, "%5") {
		return s
	}
	return strings.NewReplacer("%5B", "[", "%5b", "[", "%5D", "]", "%5d", "]").Replace(s)
}

// formNode is a value while it is put together.
type formNode struct {
	values []any
	fields map[string]*formNode
	items  map[int]*formNode
	last   int // the highest index in items
}

func (n *formNode) child(s formStep) *formNode {
	if s.name != "" {
		if n.fields == nil {
			n.fields = make(map[string]*formNode)
		}
		if n.fields[s.name] == nil {
			n.fields[s.name] = new(formNode)
		}
		return n.fields[s.name]
	}
	if s.index == 0 {
		s.index = n.last + 1
	}
	n.last = max(n.last, s.index)
	if n.items == nil {
		n.items = make(map[int]*formNode)
	}
	if n.items[s.index] == nil {
		n.items[s.index] = new(formNode)
	}
	return n.items[s.index]
}

// value answers an object if there are names, else a list if there are items
// or several values, else the one value.
func (n *formNode) value() any {
	if n.fields != nil {
		o := make(schema.Object, len(n.fields))
		for i, item := range n.items {
			o[strconv.Itoa(i)] = item.value()
		}
		for name, field := range n.fields {
			o[name] = field.value()
		}
		return o
	}
	if n.items == nil && len(n.values) == 1 {
		return n.values[0]
	}
	list := slices.Clone(n.values)
	for _, i := range slices.Sorted(maps.Keys(n.items)) {
		list = append(list, n.items[i].value())
	}
	return list
}
