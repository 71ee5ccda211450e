package listen

import (
	"encoding"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// KeepAlive is the value of so_keepalive. The zero value means the flag is not
// there, which leaves Go's default: probes after 15 seconds of silence, every
// 15 seconds, 9 times.
//
// Its text form, in JSON too, is Kong's: "on" (with the system's own timing),
// "off", or "idle:intvl:cnt", where a part left out is the system's own.
type KeepAlive struct {
	// Set tells that the flag was given.
	Set bool
	// Off tells that no probes are sent.
	Off bool
	// Idle is the silence before the first probe, in whole seconds; 0 is the
	// system's own (Linux: net.ipv4.tcp_keepalive_time).
	Idle time.Duration
	// Interval is the time between probes, in whole seconds; 0 is the system's
	// own.
	Interval time.Duration
	// Count is how many unanswered probes end the connection; 0 is the
	// system's own.
	Count int
}

// What Linux accepts (include/net/tcp.h: MAX_TCP_KEEPIDLE, MAX_TCP_KEEPINTVL,
// MAX_TCP_KEEPCNT).
const (
	maxKeepAliveTime  = 32767 * time.Second
	maxKeepAliveCount = 127
)

// IsZero reports whether the flag is not there.
func (k KeepAlive) IsZero() bool { return k == KeepAlive{} }

// String returns the value as it is written behind `so_keepalive=`.
func (k KeepAlive) String() string {
	switch {
	case k.IsZero():
		return ""
	case k.Off:
		return "off"
	case k.Idle == 0 && k.Interval == 0 && k.Count == 0:
		return "on"
	}
	part := func(n int) string {
		if n == 0 {
			return ""
		}
		return strconv.Itoa(n)
	}
	return part(int(k.Idle/time.Second)) + ":" + part(int(k.Interval/time.Second)) + ":" + part(k.Count)
}

// MarshalText returns the same as String.
func (k KeepAlive) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what String writes, and nginx's units of time as well:
// "30m::10".
func (k *KeepAlive) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		*k = KeepAlive{}
		return nil
	}
	parsed, err := parseKeepAlive(string(text))
	if err != nil {
		return fmt.Errorf("so_keepalive %q: %w", text, err)
	}
	*k = parsed
	return nil
}

// apply sets the keep-alive of the connections that lc's listeners accept.
func (k KeepAlive) apply(lc *net.ListenConfig) {
	switch {
	case k.IsZero():
		lc.KeepAliveConfig = net.KeepAliveConfig{Enable: true}
	case k.Off:
		lc.KeepAlive = -1
	default:
		// To net, 0 is Go's default and a negative value the system's.
		system := func(d time.Duration) time.Duration {
			if d == 0 {
				return -1
			}
			return d
		}
		lc.KeepAliveConfig = net.KeepAliveConfig{
			Enable:   true,
			Idle:     system(k.Idle),
			Interval: system(k.Interval),
			Count:    int(system(time.Duration(k.Count))),
		}
	}
}

func parseKeepAlive(s string) (KeepAlive, error) {
	switch s {
	case "on":
		return KeepAlive{Set: true}, nil
	case "off":
		return KeepAlive{Set: true, Off: true}, nil
	}
	parts := strings.Split(s, ":")
	if len(parts) != 3 || s == "::" {
		return KeepAlive{}, errors.New("want on, off or [idle]:[intvl]:[cnt], for example 30m::10")
	}
	k := KeepAlive{Set: true}
	var err error
	if k.Idle, err = parseTime(parts[0]); err != nil {
		return KeepAlive{}, fmt.Errorf("idle: %w", err)
	}
	if k.Interval, err = parseTime(parts[1]); err != nil {
		return KeepAlive{}, fmt.Errorf("intvl: %w", err)
	}
	if parts[2] != "" {
		k.Count, err = strconv.Atoi(parts[2])
		if err != nil || !digits(parts[2]) || k.Count < 1 || k.Count > maxKeepAliveCount {
			return KeepAlive{}, fmt.Errorf("cnt %q: want a number from 1 to %d", parts[2], maxKeepAliveCount)
		}
	}
	return k, nil
}

// parseTime reads a time as nginx writes it: numbers with units, the largest
// first ("1h30m"); a number without one counts seconds. Empty is 0.
func parseTime(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	invalid := fmt.Errorf("time %q: want 1 to %d seconds, for example 90, 30m or 1h30m", s, maxKeepAliveTime/time.Second)
	const units = "hms" // those that fit into the limit
	size := []time.Duration{time.Hour, time.Minute, time.Second}
	var sum time.Duration
	for rest, from := s, 0; rest != ""; {
		end := 0
		for end < len(rest) && '0' <= rest[end] && rest[end] <= '9' {
			end++
		}
		n, err := strconv.ParseUint(rest[:end], 10, 16)
		if err != nil {
			return 0, invalid
		}
		unit := len(units) - 1
		if end < len(rest) {
			unit = strings.IndexByte(units, rest[end])
			end++
		}
		if unit < from {
			return 0, invalid
		}
		from = unit + 1
		sum += time.Duration(n) * size[unit]
		rest = rest[end:]
	}
	if sum < time.Second || sum > maxKeepAliveTime {
		return 0, invalid
	}
	return sum, nil
}

// Interface guards
var (
	_ encoding.TextMarshaler   = KeepAlive{}
	_ encoding.TextUnmarshaler = (*KeepAlive)(nil)
)
