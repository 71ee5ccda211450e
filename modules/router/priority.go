package router

import (
	"fmt"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/entity"
)

// Priority says which of several fitting routes is taken: the one with the
// highest, and among equals the one with the largest id. It packs, from the
// highest bit to the lowest, what Kong's get_priority does
// (kong/router/transform.lua):
//
//	bits   width
//	63-61  3   number of attributes: methods, hosts, headers, snis, paths,
//	           sources, destinations
//	60     1   the route has hosts, none of them with a wildcard
//	59-52  8   number of header names
//	51     1   the paths are regular expressions
//	50-19  32  regex_priority, if they are
//	18-0   19  length of the path, if they are not
//
// So more attributes beat everything; then plain hosts beat wildcards and
// no hosts, more headers beat fewer, regular expressions beat prefixes, and
// long prefixes beat short ones.
//
// This is the order that Kong documents, and that Kong Gateway follows with
// `route_match_calculation = strict`. The open source Kong 3 shifts some of
// these numbers in 32 bits, so that there a plain host outweighs any number
// of attributes and more than three of them outweigh everything.
type Priority uint64

const (
	attributesShift    = 61
	plainHostBit       = 1 << 60
	headersShift       = 52
	maxHeaders         = 1<<8 - 1
	regexBit           = 1 << 51
	regexPriorityShift = 19
	maxRegexPriority   = 1<<32 - 1
	maxLength          = 1<<19 - 1
)

// priority answers the priority of the part of a route that has paths of one
// kind: regular expressions, or prefixes of one length. A regex_priority that
// does not fit its bits counts as the next one that does, so those below zero
// count as zero.
func priority(r *entity.Route, regex bool, length int) Priority {
	var p Priority
	for _, has := range [...]bool{
		len(r.Methods) > 0, len(r.Hosts) > 0, len(r.Headers) > 0, len(r.SNIs) > 0,
		len(r.Paths) > 0, len(r.Sources) > 0, len(r.Destinations) > 0,
	} {
		if has {
			p += 1 << attributesShift
		}
	}
	// In Kong an empty list of hosts, unlike none, is a list without
	// wildcards.
	if r.Hosts != nil && !anyContains(r.Hosts, "*") {
		p |= plainHostBit
	}
	p |= Priority(min(len(r.Headers), maxHeaders)) << headersShift
	if regex {
		p |= regexBit | Priority(min(max(r.RegexPriority, 0), maxRegexPriority))<<regexPriorityShift
	} else {
		p |= Priority(length & maxLength)
	}
	return p
}

func anyContains(list []string, s string) bool {
	for _, e := range list {
		if strings.Contains(e, s) {
			return true
		}
	}
	return false
}

// String tells a person what the priority is made of.
func (p Priority) String() string {
	var b strings.Builder
	plural := func(n Priority, one, many string) {
		word := many
		if n == 1 {
			word = one
		}
		fmt.Fprintf(&b, "%d %s", n, word)
	}
	plural(p>>attributesShift, "attribute", "attributes")
	if p&plainHostBit != 0 {
		b.WriteString(", plain hosts")
	}
	if n := p >> headersShift & maxHeaders; n > 0 {
		b.WriteString(", ")
		plural(n, "header", "headers")
	}
	if p&regexBit != 0 {
		fmt.Fprintf(&b, ", regex of priority %d", p>>regexPriorityShift&maxRegexPriority)
	} else if n := p & maxLength; n > 0 {
		b.WriteString(", prefix of ")
		plural(n, "byte", "bytes")
	}
	return b.String()
}
