package router

import (
	"regexp"
	"regexp/syntax"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// A pattern is one regular expression of a route's paths, anchored at the
// start of the path and nowhere else.
//
// Regular expressions are slow and large, and most start with plain text. So
// the index proposes a pattern only for paths that start with its literal, what
// else must be in the path is looked for first, and the expression is compiled
// when a path gets that far, or never if it is nothing but text.
type pattern struct {
	literal string // what the path starts with
	end     bool   // of a plain pattern: the path ends there, too
	inner   string // what the path contains
	expr    string // empty if the pattern is plain

	compiled atomic.Pointer[regexp.Regexp] // nil until it is needed
}

// newPattern reads a path of a route, without its "~".
func newPattern(expr string) (*pattern, error) {
	// The anchor is part of the text, as in Kong: in "/a|/b" it belongs to
	// the first alternative only.
	expr = "^" + expr
	tree, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return nil, err
	}
	literal, end, plain := anchoredLiteral(tree)
	p := &pattern{literal: literal, end: end}
	if !plain {
		p.expr, p.inner = expr, requiredLiteral(tree, literal)
	}
	return p, nil
}

// regexp answers the compiled expression of a pattern that is not plain. What
// can be read can be compiled.
func (p *pattern) regexp() *regexp.Regexp {
	re := p.compiled.Load()
	if re == nil {
		re = regexp.MustCompile(p.expr)
		p.compiled.Store(re)
	}
	return re
}

// find answers what the pattern takes of a path that it matches.
func (p *pattern) find(path string) Path {
	if p.expr == "" {
		return Path{Prefix: p.literal}
	}
	re := p.regexp()
	loc := re.FindStringSubmatchIndex(path)
	found := Path{Prefix: path[loc[0]:loc[1]]}
	if re.NumSubexp() > 0 {
		found.Captures = Captures{re, path, loc}
	}
	return found
}

// matches reports whether the pattern fits a path.
func (p *pattern) matches(path string) bool {
	switch {
	case !strings.HasPrefix(path, p.literal) || !strings.Contains(path, p.inner):
		return false
	case p.expr == "":
		return !p.end || len(path) == len(p.literal)
	}
	return p.regexp().MatchString(path)
}

// anchoredLiteral answers the text that every match of an expression starts
// with at the beginning of the path, and whether the expression is plain: this
// text and at most the end of the path.
func anchoredLiteral(tree *syntax.Regexp) (literal string, end, plain bool) {
	parts := []*syntax.Regexp{tree}
	if tree.Op == syntax.OpConcat {
		parts = tree.Sub
	}
	if parts[0].Op != syntax.OpBeginText {
		return "", false, false
	}
	parts = parts[1:]
	if n := len(parts); n > 0 && parts[n-1].Op == syntax.OpEndText {
		parts, end = parts[:n-1], true
	}
	plain = tree.MaxCap() == 0
	for _, part := range parts {
		text, whole := leadingLiteral(part)
		if literal += text; !whole {
			plain = false
			break
		}
	}
	return literal, end && plain, plain
}

// leadingLiteral answers the text that every match of an expression starts
// with, and whether that is the whole match.
func leadingLiteral(re *syntax.Regexp) (text string, whole bool) {
	switch re.Op {
	case syntax.OpLiteral:
		return literalText(re)
	case syntax.OpEmptyMatch:
		return "", true
	case syntax.OpCapture:
		return leadingLiteral(re.Sub[0])
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			t, whole := leadingLiteral(sub)
			if text += t; !whole {
				return text, false
			}
		}
		return text, true
	case syntax.OpPlus:
		text, _ = leadingLiteral(re.Sub[0])
		return text, false
	case syntax.OpRepeat:
		if re.Min > 0 {
			text, _ = leadingLiteral(re.Sub[0])
		}
		return text, false
	case syntax.OpAlternate:
		text, _ = leadingLiteral(re.Sub[0])
		for _, sub := range re.Sub[1:] {
			t, _ := leadingLiteral(sub)
			text = text[:commonPrefix(text, t)]
		}
		return text, false
	}
	return "", false
}

// requiredLiteral answers the longest text found that every match contains,
// apart from what is part of known.
func requiredLiteral(re *syntax.Regexp, known string) string {
	switch re.Op {
	case syntax.OpLiteral:
		if text, _ := literalText(re); !strings.Contains(known, text) {
			return text
		}
	case syntax.OpCapture, syntax.OpPlus:
		return requiredLiteral(re.Sub[0], known)
	case syntax.OpRepeat:
		if re.Min > 0 {
			return requiredLiteral(re.Sub[0], known)
		}
	case syntax.OpConcat:
		longest := ""
		for _, sub := range re.Sub {
			if text := requiredLiteral(sub, known); len(text) > len(longest) {
				longest = text
			}
		}
		return longest
	}
	return ""
}

// literalText answers the text of a literal up to the first character that
// other text than its own could match, and whether that is all of it.
func literalText(re *syntax.Regexp) (text string, whole bool) {
	if re.Flags&syntax.FoldCase != 0 {
		return "", false
	}
	for i, r := range re.Rune {
		if r == utf8.RuneError { // matches every byte that is not UTF-8
			return string(re.Rune[:i]), false
		}
	}
	return string(re.Rune), true
}

func commonPrefix(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}
