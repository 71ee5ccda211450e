package caddyfile

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// words is what a block understands: each word and how what follows it goes
// into t. The dispenser stands on the word.
type words[T any] map[string]func(d *caddyfile.Dispenser, t *T) error

// block reads the block that follows, if one does. Errors name the word, its
// line and what the block understands.
func (w words[T]) block(d *caddyfile.Dispenser, t *T) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		word := d.Val()
		if word == "{" {
			return d.Err("the option above takes no block")
		}
		read, ok := w[word]
		if !ok {
			if slices.Contains(globals, word) {
				return d.Errf("%s is a global option of its own: write it beside this block, not in it", word)
			}
			return d.Errf("unrecognized option %q; expected one of: %s", word, strings.Join(slices.Sorted(maps.Keys(w)), ", "))
		}
		if err := read(d, t); err != nil {
			return err
		}
	}
	return nil
}

// one answers the only argument of the word that d stands on. The form says
// what is expected.
func one(d *caddyfile.Dispenser, form string) (string, error) {
	word := d.Val()
	args := d.RemainingArgs()
	if len(args) != 1 {
		return "", d.Errf("%s: expected %s", word, form)
	}
	return args[0], nil
}

// none makes sure that the word that d stands on has no argument.
func none(d *caddyfile.Dispenser) error {
	word := d.Val()
	if d.NextArg() {
		return d.Errf("%s takes no argument, got %q", word, d.Val())
	}
	return nil
}

// list answers the arguments of the word that d stands on, of which there is
// at least one. Commas separate as blanks do, as in kong.conf.
func list(d *caddyfile.Dispenser, form string) ([]string, error) {
	word := d.Val()
	items := split(d.RemainingArgs())
	if len(items) == 0 {
		return nil, d.Errf("%s: expected %s", word, form)
	}
	return items, nil
}

// split separates args at commas, and drops the blanks around them.
func split(args []string) []string {
	return strings.FieldsFunc(strings.Join(args, " "), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// onOff answers the argument of a switch.
func onOff(d *caddyfile.Dispenser) (bool, error) {
	word := d.Val()
	switch args := d.RemainingArgs(); {
	case slices.Equal(args, []string{"on"}):
		return true, nil
	case slices.Equal(args, []string{"off"}):
		return false, nil
	case len(args) == 1:
		return false, d.Errf("%s: expected on or off, got %q", word, args[0])
	}
	return false, d.Errf("%s: expected on or off", word)
}

// duration answers the argument of a word that waits: Go's durations, and d
// for days.
func duration(d *caddyfile.Dispenser) (caddy.Duration, error) {
	word := d.Val()
	text, err := one(d, "a duration such as 30s")
	if err != nil {
		return 0, err
	}
	value, err := caddy.ParseDuration(text)
	if err != nil || value < 0 {
		return 0, d.Errf("%s: expected a duration such as 30s, got %q", word, text)
	}
	return caddy.Duration(value), nil
}

// seconds answers the argument of a word that Kong counts in seconds: such a
// number, or a duration.
func seconds(d *caddyfile.Dispenser) (caddy.Duration, error) {
	word := d.Val()
	text, err := one(d, "a number of seconds, or a duration such as 30s")
	if err != nil {
		return 0, err
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil && n >= 0 && n <= 1<<31 {
		return caddy.Duration(n * float64(time.Second)), nil
	}
	if value, err := caddy.ParseDuration(text); err == nil && value >= 0 {
		return caddy.Duration(value), nil
	}
	return 0, d.Errf("%s: expected a number of seconds, or a duration such as 30s, got %q", word, text)
}

// count answers the argument of a word that counts. The form says what is
// expected.
func count(d *caddyfile.Dispenser, form string) (int, error) {
	word := d.Val()
	text, err := one(d, form)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, d.Errf("%s: expected %s above 0, got %q", word, form, text)
	}
	return n, nil
}

// size answers the argument of a word that measures bytes.
func size(d *caddyfile.Dispenser) (int, error) {
	word := d.Val()
	text, err := one(d, "a size such as 64KiB")
	if err != nil {
		return 0, err
	}
	value, err := humanize.ParseBytes(text)
	if err != nil || value == 0 || value > 1<<30 {
		return 0, d.Errf("%s: expected a size such as 64KiB, up to 1GiB, got %q", word, text)
	}
	return int(value), nil
}
