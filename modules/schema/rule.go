package schema

import (
	"fmt"
	"slices"
	"strings"
)

// A Rule is a check of one value that has no member of its own in Field. The
// constructors carry Kong's words for them.
type Rule struct {
	Word string // as in /schemas; empty: not shown there
	Arg  any    // as in /schemas

	// Test answers what is wrong with a normalised value, or "".
	Test func(value any) string
}

// StartsWith wants a string with that prefix.
func StartsWith(prefix string) Rule {
	return Rule{"starts_with", prefix, func(v any) string {
		if s, ok := v.(string); ok && !strings.HasPrefix(s, prefix) {
			return "should start with: " + prefix
		}
		return ""
	}}
}

// Equal wants that string.
func Equal(want string) Rule {
	return Rule{"eq", want, func(v any) string {
		if v != any(want) {
			return "value must be " + want
		}
		return ""
	}}
}

// GreaterThan wants a number above the bound.
func GreaterThan(bound float64) Rule {
	return Rule{"gt", bound, func(v any) string {
		if n, ok := number(v); ok && n <= bound {
			return fmt.Sprintf("value must be greater than %v", bound)
		}
		return ""
	}}
}

// Match wants a string for which ok answers true; pattern is what people read
// about it.
func Match(pattern string, ok func(string) bool) Rule {
	return Rule{"match", pattern, func(v any) string {
		if s, is := v.(string); is && !ok(s) {
			return "invalid value: " + s
		}
		return ""
	}}
}

// MatchNone refuses strings for which found answers true, with message.
func MatchNone(pattern, message string, found func(string) bool) Rule {
	arg := []any{Object{"pattern": pattern, "err": message}}
	return Rule{"match_none", arg, func(v any) string {
		if s, is := v.(string); is && found(s) {
			return message
		}
		return ""
	}}
}

// MatchAll wants strings for which ok answers true, and refuses others with
// message.
func MatchAll(pattern, message string, ok func(string) bool) Rule {
	arg := []any{Object{"pattern": pattern, "err": message}}
	return Rule{"match_all", arg, func(v any) string {
		if s, is := v.(string); is && !ok(s) {
			return message
		}
		return ""
	}}
}

// MatchAny wants strings for which ok answers true, and refuses others with
// message. The patterns are what people read about it.
func MatchAny(patterns []string, message string, ok func(string) bool) Rule {
	arg := Object{"patterns": Values(patterns...), "err": message}
	return Rule{"match_any", arg, func(v any) string {
		if s, is := v.(string); is && !ok(s) {
			return message
		}
		return ""
	}}
}

// Contains wants an array or set that has the element.
func Contains(element string) Rule {
	return Rule{"contains", element, func(v any) string {
		if list, ok := v.([]any); ok {
			if !slices.Contains(list, any(element)) {
				return "expected to contain: " + element
			}
		}
		return ""
	}}
}

// Custom wants a string about which test has nothing to say.
func Custom(test func(s string) string) Rule {
	return Rule{Test: func(v any) string {
		if s, ok := v.(string); ok {
			return test(s)
		}
		return ""
	}}
}

// CustomRecord wants a record about which test has nothing to say.
func CustomRecord(test func(o Object) string) Rule {
	return Rule{Test: func(v any) string {
		if o, ok := v.(Object); ok {
			return test(o)
		}
		return ""
	}}
}

// DisjointSets wants all elements of a set to come from one of the sets.
// Elements that are in none of them do not count.
func DisjointSets(sets ...[]string) Rule {
	arg := make([]any, len(sets))
	for i, set := range sets {
		arg[i] = Values(set...)
	}
	return Rule{"mutually_exclusive_subsets", arg, func(v any) string {
		list, _ := v.([]any)
		var hit []int
		for _, e := range list {
			s, _ := e.(string)
			i := slices.IndexFunc(sets, func(set []string) bool { return slices.Contains(set, s) })
			if i >= 0 && !slices.Contains(hit, i) {
				hit = append(hit, i)
			}
		}
		if len(hit) <= 1 {
			return ""
		}
		groups := make([]string, len(hit))
		for n, i := range hit {
			groups[n] = "(" + quoted(sets[i]) + ")"
		}
		return "these sets are mutually exclusive: " + strings.Join(groups, ", ")
	}}
}

// quoted writes names as Kong's messages do: 'a', 'b'.
func quoted(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "'" + strings.Join(names, "', '") + "'"
}
