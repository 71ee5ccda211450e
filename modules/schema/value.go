package schema

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	msgRequired = "required field missing"
	msgUnknown  = "unknown field"
	msgNull     = "value must be null"
)

// biggest is the largest integer that a double, and with it JSON in most
// languages, holds exactly.
const biggest = 1 << 53

// value normalises and checks one value. The second result is nil, a message
// or, for composite values, messages nested as the value is. The first is the
// value as far as it was understood, also if there are messages.
func (p *processor) value(f *Field, v any) (any, any) {
	if v == nil {
		if f.Required {
			return nil, msgRequired
		}
		return nil, nil
	}
	if f.Null {
		return v, cmp.Or(f.Err, msgNull)
	}
	var errs any
	switch f.Kind {
	case String:
		s, ok := v.(string)
		if !ok {
			return v, "expected a string"
		}
		if f.Referenceable && IsReference(s) {
			return s, nil
		}
		if f.UUID {
			v = strings.ToLower(s)
		}
	case Integer:
		n, ok := integer(v)
		if !ok {
			return v, "expected an integer"
		}
		v = n
	case Number:
		n, ok := number(v)
		if !ok {
			return v, "expected a number"
		}
		v = n
	case Boolean:
		if _, ok := v.(bool); !ok {
			return v, "expected a boolean"
		}
	case Array, Set:
		v, errs = p.list(f, v)
	case Map:
		v, errs = p.mapping(f, v)
	case Record:
		v, errs = p.nested(f, v)
	case Foreign:
		v, errs = p.foreign(f, v)
	case JSON:
		return canonical(v), nil
	}
	if errs != nil {
		return v, errs
	}
	if msg := f.check(v); msg != "" {
		return v, cmp.Or(f.Err, msg)
	}
	if s, ok := v.(string); ok && !validUTF8(s) {
		v = strings.ToValidUTF8(s, "\uFFFD")
	}
	return v, nil
}

func (p *processor) list(f *Field, v any) (any, any) {
	in, ok := v.([]any)
	if !ok {
		if o, is := v.(Object); !is || len(o) > 0 { // {} is an empty list, as in Lua
			return v, "expected " + article(f.Kind)
		}
	}
	out := make([]any, 0, len(in))
	var seen map[any]bool
	if f.Kind == Set && len(in) > 16 {
		seen = make(map[any]bool, len(in))
	}
	var errs []any
	for _, e := range in {
		var w, err any
		if e == nil {
			err = msgRequired
		} else {
			w, err = p.value(f.Elem, e)
		}
		if f.Kind == Set && scalar(w) {
			if seen != nil {
				if seen[w] {
					continue
				}
				seen[w] = true
			} else if slices.Contains(out, w) {
				continue
			}
		}
		out = append(out, w)
		if err != nil {
			errs = append(errs, make([]any, len(out)-1-len(errs))...)
			errs = append(errs, err)
		}
	}
	if errs != nil {
		return out, errs
	}
	return out, nil
}

func (p *processor) mapping(f *Field, v any) (any, any) {
	in, ok := v.(Object)
	if !ok {
		if list, is := v.([]any); !is || len(list) > 0 {
			return v, "expected a map"
		}
	}
	out := make(map[string]any, len(in))
	var bad string // the first key, in order, that has an error
	var errs any
	for k, e := range in {
		_, err := p.value(f.Keys, k)
		if err == nil {
			if e == nil {
				err = msgRequired
			} else {
				e, err = p.value(f.Elem, e)
			}
		}
		if !utf8.ValidString(k) {
			k = strings.ToValidUTF8(k, "\uFFFD")
		}
		out[k] = e
		if err != nil && (errs == nil || k < bad) {
			bad, errs = k, err
		}
	}
	return out, errs
}

func (p *processor) nested(f *Field, v any) (any, any) {
	in, ok := v.(Object)
	if !ok {
		if list, is := v.([]any); !is || len(list) > 0 {
			return v, "expected a record"
		}
	}
	if f.Fields == nil { // an abstract record without a variant
		return canonical(v), nil
	}
	in, errs := f.Fields.expand(p, in)
	if errs != nil {
		return v, errs
	}
	out, errs := p.record(f.Fields, nil, in)
	if errs != nil {
		return out, errs
	}
	return out, nil
}

// check runs the checks of a field on a normalised value, in Kong's order.
func (f *Field) check(v any) string {
	if f.NotEqual != nil && v == f.NotEqual {
		return fmt.Sprintf("value must not be %v", v)
	}
	if f.NotOneOf != nil && slices.Contains(f.NotOneOf, v) {
		return "must not be one of: " + joined(f.NotOneOf)
	}
	if f.OneOf != nil && !slices.Contains(f.OneOf, v) {
		return "expected one of: " + joined(f.OneOf)
	}
	if f.Timestamp {
		if n, _ := number(v); n <= 0 {
			return "expected a valid timestamp"
		}
	}
	if f.UUID {
		if s, _ := v.(string); !isUUID(s) {
			return "expected a valid UUID"
		}
	}
	if f.Between != nil {
		if n, _ := number(v); n < f.Between[0] || n > f.Between[1] {
			return fmt.Sprintf("value should be between %.0f and %.0f", f.Between[0], f.Between[1])
		}
	}
	if msg := f.checkLength(v); msg != "" {
		return msg
	}
	for i := range f.Rules {
		if msg := f.Rules[i].Test(v); msg != "" {
			return msg
		}
	}
	return ""
}

func (f *Field) checkLength(v any) string {
	if f.LenEq == nil && f.LenMin == nil && f.LenMax == nil && f.Kind != String {
		return ""
	}
	n, least := 0, 0
	switch v := v.(type) {
	case string:
		n, least = len(v), 1
	case []any:
		n = len(v)
	case map[string]any:
		n = len(v)
	default:
		return ""
	}
	if f.LenMin != nil {
		least = *f.LenMin
	}
	switch {
	case f.LenEq != nil && n != *f.LenEq:
		return fmt.Sprintf("length must be %d", *f.LenEq)
	case n < least:
		return fmt.Sprintf("length must be at least %d", least)
	case f.LenMax != nil && n > *f.LenMax:
		return fmt.Sprintf("length must be at most %d", *f.LenMax)
	}
	return ""
}

// IsReference tells whether s stands for a secret in a vault, such as
// "{vault://env/my-secret}".
func IsReference(s string) bool {
	const prefix, suffix = "{vault://", "}"
	return len(s) > len(prefix)+len(suffix) && strings.HasPrefix(s, prefix) && strings.HasSuffix(s, suffix)
}

func integer(v any) (int64, bool) {
	switch n := v.(type) {
	case int64:
		return n, n >= -biggest && n <= biggest
	case int:
		return int64(n), n >= -biggest && n <= biggest
	case float64:
		return int64(n), n == math.Trunc(n) && n >= -biggest && n <= biggest
	case json.Number:
		if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
			return i, i >= -biggest && i <= biggest
		}
		x, err := n.Float64()
		return int64(x), err == nil && x == math.Trunc(x) && x >= -biggest && x <= biggest
	}
	return 0, false
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, !math.IsNaN(n) && !math.IsInf(n, 0)
	case int64:
		return float64(n), true
	case int:
		return float64(n), true
	case json.Number:
		x, err := n.Float64()
		return x, err == nil
	}
	return 0, false
}

// canonical gives any JSON value the Go types that reading its text again
// would give.
func canonical(v any) any {
	switch v := v.(type) {
	case string:
		return strings.ToValidUTF8(v, "\uFFFD")
	case int:
		return int64(v)
	case json.Number:
		return parseNumber(string(v))
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
		return parseNumber(string(appendFloat(nil, v)))
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = canonical(e)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[strings.ToValidUTF8(k, "\uFFFD")] = canonical(e)
		}
		return out
	case nil, bool, int64:
		return v
	}
	return nil
}

func parseNumber(s string) any {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i
	}
	x, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil
	}
	if x == math.Trunc(x) && math.Abs(x) < 1<<62 { // 1.0 and 1e3 are written as integers
		return int64(x)
	}
	return x
}

// isUUID reports whether s identifies a row. The nil UUID does not: it stands
// for "none".
func isUUID(s string) bool {
	if len(s) != 36 || s == "00000000-0000-0000-0000-000000000000" {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
				return false
			}
		}
	}
	return true
}

func scalar(v any) bool {
	switch v.(type) {
	case string, int64, float64, bool, int, json.Number:
		return true
	}
	return false
}

func article(k Kind) string {
	switch k {
	case Array, Integer:
		return "an " + string(k)
	}
	return "a " + string(k)
}

// joined writes values as Kong's messages do: a, b.
func joined(values []any) string {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = fmt.Sprint(v)
	}
	return strings.Join(words, ", ")
}

// KeyText is the text that stands for a value of a processed object in a key:
// that of a foreign key is the id, and null is empty.
func KeyText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case Object:
		return KeyText(v["id"])
	}
	return fmt.Sprint(v)
}
