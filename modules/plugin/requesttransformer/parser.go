package requesttransformer

import (
	"fmt"
	"strconv"
	"strings"
)

// A parser reads the expressions of templates. They are Lua's, as far as these
// go, and mean what they do there:
//
//	or  and  not  ==  ~=  ..  ( )
//	'text'  "text"  12  1.5  true  false  nil
//	headers.name         headers["X-Name"]
//	query_params.name    query_params["name"]
//	uri_captures.name    uri_captures["name"]    uri_captures[1]
//	shared.name          shared.name.name
//	string.lower(x)  string.upper(x)  string.len(x)  string.sub(x, from, to)
//	tostring(x)  tonumber(x)  x:lower()  x:upper()  x:len()  x:sub(from, to)
//
// Anything else is an error: a gateway does not run programs that come with a
// request to its Admin API.
type parser struct {
	text  string
	at    int
	depth int
}

// known is what an expression may begin with, for people.
const known = "headers, query_params, uri_captures, shared, string.lower, string.upper, string.len, string.sub, tostring or tonumber"

// maxDepth bounds how deep expressions may be nested.
const maxDepth = 50

// template reads an expression and the parenthesis behind it.
func (p *parser) template() (expr, error) {
	e, err := p.or()
	if err != nil {
		return nil, err
	}
	if !p.take(")") {
		return nil, p.unexpected(`")" at the end of the expression`)
	}
	return e, nil
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take reads a sign if it stands next.
func (p *parser) take(sign string) bool {
	p.space()
	if !strings.HasPrefix(p.text[p.at:], sign) {
		return false
	}
	p.at += len(sign)
	return true
}

// word reads a name or a word of the language; "": none stands next.
func (p *parser) word() string {
	p.space()
	i := p.at
	for i < len(p.text) && (letter(p.text[i]) || i > p.at && digit(p.text[i])) {
		i++
	}
	w := p.text[p.at:i]
	p.at = i
	return w
}

// keyword reads that word if it stands next.
func (p *parser) keyword(w string) bool {
	before := p.at
	if p.word() == w {
		return true
	}
	p.at = before
	return false
}

func letter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }
func digit(c byte) bool  { return '0' <= c && c <= '9' }

func (p *parser) unexpected(want string) error {
	p.space()
	if p.at == len(p.text) {
		return fmt.Errorf("expected %s, got the end", want)
	}
	rest := p.text[p.at:]
	if len(rest) > 20 {
		rest = rest[:20] + "…"
	}
	return fmt.Errorf("expected %s, got %q", want, rest)
}

func (p *parser) or() (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, fmt.Errorf("expected an expression that is nested less than %d times", maxDepth)
	}
	defer func() { p.depth-- }()
	return p.chain(func() bool { return p.keyword("or") }, p.and, either)
}

func (p *parser) and() (expr, error) {
	return p.chain(func() bool { return p.keyword("and") }, p.comparison, both)
}

// chain reads operands that an operator stands between.
func (p *parser) chain(operator func() bool, operand func() (expr, error), join func(a, b expr) expr) (expr, error) {
	left, err := operand()
	for err == nil && operator() {
		var right expr
		if right, err = operand(); err == nil {
			left = join(left, right)
		}
	}
	return left, err
}

func (p *parser) comparison() (expr, error) {
	left, err := p.concatenation()
	for err == nil {
		same := p.take("==")
		if !same && !p.take("~=") {
			return left, nil
		}
		var right expr
		if right, err = p.concatenation(); err == nil {
			left = equal(left, right, same)
		}
	}
	return left, err
}

func (p *parser) concatenation() (expr, error) {
	return p.chain(func() bool { return p.take("..") }, p.unary, concat)
}

func (p *parser) unary() (expr, error) {
	negations := 0
	for p.keyword("not") {
		negations++
	}
	e, err := p.operand()
	for range negations {
		e = not(e)
	}
	return e, err
}

func (p *parser) operand() (expr, error) {
	p.space()
	if p.at == len(p.text) {
		return nil, p.unexpected("an expression")
	}
	switch c := p.text[p.at]; {
	case c == '\'' || c == '"':
		s, err := p.string()
		if err != nil {
			return nil, err
		}
		return constant(s), nil
	case digit(c), c == '-':
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		return constant(n), nil
	case c == '(':
		p.at++
		e, err := p.template()
		if err != nil {
			return nil, err
		}
		return p.suffixes(e)
	}
	before := p.at
	switch w := p.word(); w {
	case "true":
		return constant(true), nil
	case "false":
		return constant(false), nil
	case "nil":
		return constant(nil), nil
	case "headers", "query_params", "uri_captures", "shared":
		if p.space(); p.at == len(p.text) || p.text[p.at] != '.' && p.text[p.at] != '[' {
			return nil, p.unexpected(fmt.Sprintf("a name behind %s, such as %s.name", w, w))
		}
		return p.suffixes(root(w))
	case "string":
		if p.take(".") {
			w += "." + p.word()
		}
		return p.function(w, before)
	default:
		return p.function(w, before)
	}
}

// function reads the call of a function.
func (p *parser) function(name string, begin int) (expr, error) {
	f, ok := functions[name]
	if !ok || !p.take("(") {
		p.at = begin
		return nil, p.unexpected(known)
	}
	args, err := p.arguments(nil)
	if err != nil {
		return nil, err
	}
	return p.suffixes(call(f, args))
}

func (p *parser) arguments(args []expr) ([]expr, error) {
	if p.take(")") {
		return args, nil
	}
	for {
		a, err := p.or()
		if err != nil {
			return nil, err
		}
		args = append(args, a)
		if p.take(")") {
			return args, nil
		}
		if !p.take(",") {
			return nil, p.unexpected(`"," or ")"`)
		}
	}
}

// suffixes reads what follows an operand: fields and methods.
func (p *parser) suffixes(e expr) (expr, error) {
	for {
		p.space()
		switch {
		case strings.HasPrefix(p.text[p.at:], ".."):
			return e, nil
		case p.take("."):
			name := p.word()
			if name == "" {
				return nil, p.unexpected("a name")
			}
			e = index(e, constant(name))
		case p.take("["):
			key, err := p.or()
			if err != nil {
				return nil, err
			}
			if !p.take("]") {
				return nil, p.unexpected(`"]"`)
			}
			e = index(e, key)
		case p.take(":"):
			begin := p.at
			f, ok := functions["string."+p.word()]
			if !ok || !p.take("(") {
				p.at = begin
				return nil, p.unexpected("one of the methods lower(), upper(), len() and sub()")
			}
			args, err := p.arguments([]expr{e})
			if err != nil {
				return nil, err
			}
			e = call(f, args)
		default:
			return e, nil
		}
	}
}

func (p *parser) number() (float64, error) {
	i := p.at
	if p.text[i] == '-' {
		i++
	}
	for i < len(p.text) && (digit(p.text[i]) || p.text[i] == '.' && !strings.HasPrefix(p.text[i:], "..")) {
		i++
	}
	n, err := strconv.ParseFloat(p.text[p.at:i], 64)
	if err != nil {
		return 0, p.unexpected("a number")
	}
	p.at = i
	return n, nil
}

// string reads a text in quotes.
func (p *parser) string() (string, error) {
	quote := p.text[p.at]
	var out strings.Builder
	for i := p.at + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == quote:
			p.at = i + 1
			return out.String(), nil
		case c != '\\':
			out.WriteByte(c)
		default:
			if i++; i == len(p.text) {
				break
			}
			switch c := p.text[i]; c {
			case 'n':
				out.WriteByte('\n')
			case 't':
				out.WriteByte('\t')
			case 'r':
				out.WriteByte('\r')
			case '\\', '\'', '"':
				out.WriteByte(c)
			default:
				return "", fmt.Errorf(`expected one of \n, \t, \r, \\, \' and \", got %q`, p.text[i-1:i+1])
			}
		}
	}
	return "", fmt.Errorf("expected %c at the end of a text, got the end", quote)
}
