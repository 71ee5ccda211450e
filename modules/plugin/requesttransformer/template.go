package requesttransformer

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A template is a text with expressions in `$(…)`. Expressions are a subset of
// Lua: see parser.
type template struct {
	text  string // as it is, if there are no parts
	parts []part
}

type part struct {
	text string
	expr expr // nil: it is text
}

// parseTemplate reads a template. The error says what is wrong with the
// expression, not where the template stands.
func parseTemplate(text string) (template, error) {
	t := template{text: text}
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "$(")
		if !found {
			if t.parts != nil && rest != "" {
				t.parts = append(t.parts, part{text: rest})
			}
			return t, nil
		}
		if before != "" {
			t.parts = append(t.parts, part{text: before})
		}
		p := parser{text: after}
		e, err := p.template()
		if err != nil {
			return t, err
		}
		t.parts = append(t.parts, part{expr: e})
		rest = after[p.at:]
	}
}

// render answers the text for a request. What an expression answers that has no
// value is empty.
func (t *template) render(v *values) (string, error) {
	if t.parts == nil {
		return t.text, nil
	}
	var out strings.Builder
	for _, p := range t.parts {
		if p.expr == nil {
			out.WriteString(p.text)
			continue
		}
		value, err := p.expr(v)
		if err != nil {
			return "", err
		}
		if value == nil || value == false {
			continue
		}
		text, err := textOf(value)
		if err != nil {
			return "", err
		}
		out.WriteString(text)
	}
	return out.String(), nil
}

// An expr is an expression. It answers nil, bool, float64, string or a table.
type expr func(*values) (any, error)

// A table is what can be indexed.
type table func(key any) any

func textOf(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "nil", nil
	case string:
		return v, nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1e15 {
			return strconv.FormatInt(int64(v), 10), nil
		}
		return strconv.FormatFloat(v, 'g', 14, 64), nil
	}
	return "", errors.New("a table is no text")
}

func truth(v any) bool { return v != nil && v != false }

func constant(v any) expr { return func(*values) (any, error) { return v, nil } }

// The operators.

func either(a, b expr) expr {
	return func(v *values) (any, error) {
		if x, err := a(v); err != nil || truth(x) {
			return x, err
		}
		return b(v)
	}
}

func both(a, b expr) expr {
	return func(v *values) (any, error) {
		if x, err := a(v); err != nil || !truth(x) {
			return x, err
		}
		return b(v)
	}
}

func not(a expr) expr {
	return func(v *values) (any, error) {
		x, err := a(v)
		return !truth(x), err
	}
}

func equal(a, b expr, want bool) expr {
	return func(v *values) (any, error) {
		x, err := a(v)
		if err != nil {
			return nil, err
		}
		y, err := b(v)
		if err != nil {
			return nil, err
		}
		_, tx := x.(table)
		_, ty := y.(table)
		if tx || ty {
			return nil, errors.New("tables cannot be compared")
		}
		return (x == y) == want, nil
	}
}

func concat(a, b expr) expr {
	text := func(e expr, v *values) (string, error) {
		x, err := e(v)
		if err != nil {
			return "", err
		}
		switch x.(type) {
		case string, float64:
			return textOf(x)
		}
		return "", fmt.Errorf("attempt to concatenate a %s value", kindOf(x))
	}
	return func(v *values) (any, error) {
		x, err := text(a, v)
		if err != nil {
			return nil, err
		}
		y, err := text(b, v)
		return x + y, err
	}
}

func index(of, key expr) expr {
	return func(v *values) (any, error) {
		o, err := of(v)
		if err != nil {
			return nil, err
		}
		t, ok := o.(table)
		if !ok {
			return nil, fmt.Errorf("attempt to index a %s value", kindOf(o))
		}
		k, err := key(v)
		if err != nil {
			return nil, err
		}
		return t(k), nil
	}
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	}
	return "table"
}

// functions are those that an expression may call, by their names in Lua.
var functions = map[string]func(args []any) (any, error){
	"string.lower": onText(strings.ToLower),
	"string.upper": onText(strings.ToUpper),
	"string.len": func(args []any) (any, error) {
		s, err := firstText(args)
		return float64(len(s)), err
	},
	"string.sub": func(args []any) (any, error) {
		s, err := firstText(args)
		if err != nil {
			return nil, err
		}
		bounds := [2]int{1, -1}
		for i := range bounds {
			if i+1 >= len(args) {
				break
			}
			n, ok := args[i+1].(float64)
			if !ok {
				return nil, fmt.Errorf("string.sub: expected a number, got a %s value", kindOf(args[i+1]))
			}
			bounds[i] = int(max(-1e9, min(1e9, n)))
		}
		from, to := bounds[0], bounds[1]
		if from < 0 {
			from = max(1, len(s)+from+1)
		}
		if to < 0 {
			to = len(s) + to + 1
		}
		from, to = max(1, from), min(len(s), to)
		if from > to {
			return "", nil
		}
		return s[from-1 : to], nil
	},
	"tostring": func(args []any) (any, error) {
		if len(args) == 0 {
			return nil, errors.New("tostring: expected a value")
		}
		return textOf(args[0])
	},
	"tonumber": func(args []any) (any, error) {
		s, err := firstText(args)
		if err != nil {
			return nil, nil // as in Lua
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil {
			return nil, nil // as in Lua
		}
		return n, nil
	},
}

func onText(f func(string) string) func([]any) (any, error) {
	return func(args []any) (any, error) {
		s, err := firstText(args)
		return f(s), err
	}
}

func firstText(args []any) (string, error) {
	if len(args) > 0 {
		switch args[0].(type) {
		case string, float64:
			return textOf(args[0])
		}
		return "", fmt.Errorf("expected a string, got a %s value", kindOf(args[0]))
	}
	return "", errors.New("expected a string")
}

func call(f func([]any) (any, error), args []expr) expr {
	return func(v *values) (any, error) {
		in := make([]any, len(args))
		for i, a := range args {
			x, err := a(v)
			if err != nil {
				return nil, err
			}
			in[i] = x
		}
		return f(in)
	}
}
