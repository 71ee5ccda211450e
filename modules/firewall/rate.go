package firewall

import (
	"fmt"
	"strconv"
	"strings"
)

// A rate is a token bucket.
type rate struct {
	number int
	per    string // second, minute or hour
	burst  int
}

func (r rate) set() bool { return r.number > 0 }

// parseRate reads `<number>/second|minute|hour [burst <number>]`. Nothing is no
// limit.
func parseRate(text string) (r rate, err error) {
	if text == "" {
		return r, nil
	}
	bad := fmt.Errorf("%q: expected <number>/second|minute|hour [burst <number>], such as 100/second burst 200", text)
	words := strings.Fields(text)
	number, per, _ := strings.Cut(words[0], "/")
	if r.number, err = strconv.Atoi(number); err != nil || r.number < 1 || r.number > 10000 { // as iptables has it
		return r, bad
	}
	switch per {
	case "s", "second":
		r.per = "second"
	case "m", "minute":
		r.per = "minute"
	case "h", "hour":
		r.per = "hour"
	default:
		return r, bad
	}
	r.burst = max(r.number, 5)
	switch {
	case len(words) == 1:
		return r, nil
	case len(words) != 3 || words[1] != "burst":
		return r, bad
	}
	if r.burst, err = strconv.Atoi(words[2]); err != nil || r.burst < 1 || r.burst > 10000 {
		return r, bad
	}
	return r, nil
}
