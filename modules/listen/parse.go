package listen

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// FlagSet says which flags a listen option accepts.
type FlagSet uint8

const (
	// HTTP is the set of admin_listen and status_listen.
	HTTP FlagSet = 1 << iota
	// Stream is the set of stream_listen.
	Stream
	quic
	// Proxy is the set of proxy_listen.
	Proxy = HTTP | quic
)

// addressForms tells what an address may look like.
const addressForms = "want <IPv4>:<port>, [<IPv6>]:<port>, <hostname>:<port> or fd/<number or name>"

// A flag is one word of the grammar. Those that carry a value are written
// name=value.
type flag struct {
	name string
	form string // as the list of accepted flags shows it; empty: not shown
	sets FlagSet
	word func(b Bind) string // how b spells the flag; empty if it has not got it
	set  func(b *Bind, value string) error
}

// flags is the grammar, in Kong's order.
var flags = []flag{
	boolean("ssl", HTTP|Stream, func(b *Bind) *bool { return &b.SSL }),
	boolean("http2", HTTP, func(b *Bind) *bool { return &b.HTTP2 }),
	boolean("http3", quic, func(b *Bind) *bool { return &b.HTTP3 }),
	boolean("proxy_protocol", HTTP|Stream, func(b *Bind) *bool { return &b.ProxyProtocol }),
	boolean("deferred", HTTP, func(b *Bind) *bool { return &b.Deferred }),
	boolean("bind", HTTP|Stream, func(b *Bind) *bool { return &b.Bind }),
	boolean("reuseport", HTTP|Stream, func(b *Bind) *bool { return &b.ReusePort }),
	{
		name: "backlog", form: "backlog=N", sets: HTTP | Stream,
		word: func(b Bind) string {
			if b.Backlog == 0 {
				return ""
			}
			return "backlog=" + strconv.Itoa(b.Backlog)
		},
		set: func(b *Bind, value string) error {
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil || n < 1 || !digits(value) {
				return fmt.Errorf("flag %q: want backlog=N with N from 1 to %d", "backlog="+value, math.MaxInt32)
			}
			b.Backlog = int(n)
			return nil
		},
	},
	{
		name: "ipv6only", form: "ipv6only=on|off", sets: HTTP | Stream,
		word: func(b Bind) string {
			if b.IPv6Only == "" {
				return ""
			}
			return "ipv6only=" + b.IPv6Only
		},
		set: func(b *Bind, value string) error {
			if value != "on" && value != "off" {
				return fmt.Errorf("flag %q: want ipv6only=on or ipv6only=off", "ipv6only="+value)
			}
			b.IPv6Only = value
			return nil
		},
	},
	{
		name: "so_keepalive", form: "so_keepalive=on|off|[idle]:[intvl]:[cnt]", sets: HTTP | Stream,
		word: func(b Bind) string {
			if b.SoKeepalive.IsZero() {
				return ""
			}
			return "so_keepalive=" + b.SoKeepalive.String()
		},
		set: func(b *Bind, value string) error {
			keepAlive, err := parseKeepAlive(value)
			if err != nil {
				return fmt.Errorf("flag %q: %w", "so_keepalive="+value, err)
			}
			b.SoKeepalive = keepAlive
			return nil
		},
	},
	boolean("udp", Stream, func(b *Bind) *bool { return &b.UDP }),
	{
		name: "transparent", form: "transparent[=tproxy|redirect]", sets: HTTP | Stream,
		word: func(b Bind) string {
			switch b.Transparent {
			case "":
				return ""
			case "on":
				return "transparent"
			}
			return "transparent=" + b.Transparent
		},
		set: func(b *Bind, value string) error {
			switch value {
			case "":
				value = "on"
			case "tproxy", "redirect":
			default:
				return fmt.Errorf("flag %q: want transparent, transparent=tproxy or transparent=redirect", "transparent="+value)
			}
			b.Transparent = value
			return nil
		},
	},
	boolean("intercepted", HTTP|Stream, func(b *Bind) *bool { return &b.Intercepted }),
}

// boolean makes a flag that is on when its word is there.
func boolean(name string, sets FlagSet, field func(*Bind) *bool) flag {
	return flag{
		name: name, form: name, sets: sets,
		word: func(b Bind) string {
			if !*field(&b) {
				return ""
			}
			return name
		},
		set: func(b *Bind, _ string) error { *field(b) = true; return nil },
	}
}

// valued reports whether the flag is written name=value.
func (f flag) valued() bool { return strings.Contains(f.form, "=") }

// value cuts the value out of the flag's word.
func (f flag) value(word string) string {
	_, value, _ := strings.Cut(word, "=")
	return value
}

// Parse reads a whole listen line: entries separated by commas, or "off",
// which gives an empty list that is not nil. As in Kong, whatever follows "off"
// is ignored. Callers that got the line as words join them with a space. Errors
// begin with option, quote the entry, and say what would be accepted.
func Parse(option, line string, set FlagSet) ([]Bind, error) {
	entries := strings.Split(line, ",")
	if strings.TrimSpace(entries[0]) == "off" {
		return []Bind{}, nil
	}
	if strings.TrimSpace(line) == "" {
		return nil, fmt.Errorf("%s: the list is empty; want \"off\" or one or more addresses", option)
	}
	binds := make([]Bind, 0, len(entries))
	for _, entry := range entries {
		words := strings.Fields(entry)
		if len(words) == 0 {
			return nil, fmt.Errorf("%s: %q: an entry between commas is empty", option, line)
		}
		b, err := ParseBind(option, words, set)
		if err != nil {
			return nil, err
		}
		binds = append(binds, b)
	}
	if err := Conflicts(binds...); err != nil {
		return nil, fmt.Errorf("%s: %w", option, err)
	}
	return binds, nil
}

// ParseBind reads one entry of a listen line, already split into words: the
// address, then flags in any order. Errors are like those of [Parse].
func ParseBind(option string, words []string, set FlagSet) (Bind, error) {
	b, err := parseWords(words, set)
	if err != nil {
		return Bind{}, fmt.Errorf("%s: %q: %w", option, strings.Join(words, " "), err)
	}
	return b, nil
}

func parseWords(words []string, set FlagSet) (b Bind, err error) {
	if len(words) == 0 {
		return b, fmt.Errorf("an address is missing; %s", addressForms)
	}
	if b.Address, b.Port, b.PortEnd, err = parseAddress(words[0]); err != nil {
		return b, err
	}
	seen := make(map[string]bool)
	for _, word := range words[1:] {
		f, ok := lookup(word, set)
		if !ok {
			return b, unknownFlag(word, set)
		}
		if seen[f.name] {
			return b, fmt.Errorf("flag %q: given twice", f.name)
		}
		seen[f.name] = true
		if err := f.set(&b, f.value(word)); err != nil {
			return b, err
		}
	}
	return b, b.validate(set)
}

// lookup finds the flag that word spells. A valued flag is found without its
// value as well, so that the error can say what the value should be.
func lookup(word string, set FlagSet) (flag, bool) {
	name, _, hasValue := strings.Cut(word, "=")
	for _, f := range flags {
		if f.name == name && f.sets&set != 0 && (f.valued() || !hasValue) {
			return f, true
		}
	}
	return flag{}, false
}

func unknownFlag(word string, set FlagSet) error {
	if _, _, _, err := parseAddress(word); err == nil {
		return fmt.Errorf("unknown flag %q; entries are separated by commas", word)
	}
	var accepted []string
	for _, f := range flags {
		if f.form != "" && f.sets&set != 0 {
			accepted = append(accepted, f.form)
		}
	}
	return fmt.Errorf("unknown flag %q; accepted: %s", word, strings.Join(accepted, ", "))
}

// parseAddress splits "host:port" or "host:port-port" and brings the host into
// its canonical form. The last port is 0 if there is no range.
func parseAddress(s string) (host string, port, last uint16, err error) {
	if strings.HasPrefix(s, passedPrefix) {
		return s, 0, 0, checkPassed(s)
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || strings.HasSuffix(s, "]") {
		return "", 0, 0, fmt.Errorf("the port is missing; %s", addressForms)
	}
	host = s[:colon]
	first, end, ranged := strings.Cut(s[colon+1:], "-")
	if port, err = parsePort(first); err != nil {
		return "", 0, 0, err
	}
	if ranged {
		if last, err = parsePort(end); err != nil {
			return "", 0, 0, err
		}
		if last <= port || port == 0 {
			return "", 0, 0, fmt.Errorf("ports %s-%s: want the lower port first, from 1 on", first, end)
		}
	}
	if inner, ok := strings.CutPrefix(host, "["); ok {
		inner, ok = strings.CutSuffix(inner, "]")
		if addr, err := netip.ParseAddr(inner); !ok || err != nil || !addr.Is6() {
			return "", 0, 0, fmt.Errorf("address %q: what stands in brackets must be an IPv6 address; %s", s, addressForms)
		}
		host = inner
	} else if strings.Contains(host, ":") {
		return "", 0, 0, fmt.Errorf("address %q: an IPv6 address must stand in brackets; %s", s, addressForms)
	}
	host, err = canonicalHost(host)
	return host, port, last, err
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || !digits(s) {
		return 0, fmt.Errorf("port %q: want a number from 1 to 65535", s)
	}
	return uint16(n), nil
}

// canonicalHost returns the one spelling of an address (without brackets) or
// hostname.
func canonicalHost(host string) (string, error) {
	if strings.HasPrefix(host, passedPrefix) {
		return host, checkPassed(host)
	}
	if host == "" {
		return "", fmt.Errorf("the address is missing; %s", addressForms)
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		if zone := addr.Zone(); !plain(zone) {
			return "", fmt.Errorf("address %q: %q is not the name of a network interface", host, zone)
		}
		return addr.Unmap().String(), nil
	}
	name := strings.ToLower(host)
	if !isHostname(name) {
		return "", fmt.Errorf("address %q: neither an IP address nor a hostname; %s", host, addressForms)
	}
	return name, nil
}

// isHostname accepts DNS names and the underscores seen in container networks.
// A last label of digits only is a malformed IPv4 address (RFC 3696, section 2).
func isHostname(name string) bool {
	if len(name) > 253 {
		return false
	}
	labels := strings.Split(name, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || !plain(label) || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return !digits(labels[len(labels)-1])
}

// plain reports whether s has only letters, digits and - _ . in it.
func plain(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

// digits reports whether s is a number without sign, blank or underscore.
func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}
