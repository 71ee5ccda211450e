//go:build linux

// Command bench runs the gateway and its peers side by side and prints how
// they compare.
//
// The proxy under test has a core of its own; load generator and upstream
// share another one. The peers of a row take turns, round by round, so that a
// machine that becomes slower does so for all of them. What counts is the
// ratio within a round; the figures themselves belong to the machine.
//
// docs/benchmarks.md says how to read the tables.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	var err error
	switch {
	case len(os.Args) > 1 && os.Args[1] == "origin":
		err = runOrigin(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "load":
		err = runLoad(os.Args[2:])
	case len(os.Args) > 1 && os.Args[1] == "first":
		err = runFirst(os.Args[2:])
	default:
		err = runBench()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func runBench() error {
	binary := flag.String("binary", "bin/caddy", "the gateway to measure")
	l4 := flag.String("l4", "bin/caddy-l4", "a Caddy with caddy-l4, for the rows of streams")
	base := flag.String("base", "", "an older build of the gateway that joins the rows as the peer `base`")
	only := flag.String("rows", "", "names of rows, separated by commas; empty: all")
	with := flag.String("peers", "", "names of peers, separated by commas; empty: all")
	duration := flag.Duration("duration", 5*time.Second, "how long each measurement takes")
	rounds := flag.Int("rounds", 5, "how often each is repeated")
	rate := flag.Float64("rate", 0, "requests per second of the row p99; 0: half of what the slower of nginx and the gateway can do")
	list := flag.Bool("list", false, "print the names of the rows")
	flag.Parse()

	if *list {
		for _, r := range rows() {
			fmt.Printf("%-12s  %s\n", r.name, r.title)
		}
		return nil
	}
	chosen, err := choose(*only, *with, *base != "")
	if err != nil {
		return err
	}
	path, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}
	l, err := newLab(path)
	if err != nil {
		return err
	}
	defer l.close()
	l.rate = *rate
	if l.binaries["caddy-l4"], err = filepath.Abs(*l4); err != nil {
		return err
	}
	if *base != "" {
		if l.binaries["base"], err = filepath.Abs(*base); err != nil {
			return err
		}
	}

	// an interrupt leaves no server behind
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		l.close()
		os.Exit(130)
	}()

	if err := l.startOrigin(); err != nil {
		return err
	}
	l.describe(os.Stdout)
	fmt.Printf("%d rounds of %s each\n", *rounds, *duration)
	var failed []error
	for _, r := range chosen {
		m, err := l.measure(r, *duration, *rounds)
		if err != nil {
			fmt.Printf("\n%s: %v\n", r.name, err)
			failed = append(failed, fmt.Errorf("row %s failed", r.name))
			continue
		}
		m.print(os.Stdout)
	}
	return errors.Join(failed...)
}

// choose picks the rows called, and the peers in them; the subject stays.
func choose(names, with string, base bool) ([]row, error) {
	all := rows()
	known := func(name string) bool {
		return slices.ContainsFunc(all, func(r row) bool { return r.name == name })
	}
	var chosen []row
	for _, name := range words(names) {
		if !known(name) {
			return nil, fmt.Errorf("there is no row %q; -list prints the rows", name)
		}
	}
	for _, r := range all {
		if names != "" && !slices.Contains(words(names), r.name) {
			continue
		}
		if with != "" {
			r.peers = slices.DeleteFunc(slices.Clone(r.peers), func(p string) bool { return !slices.Contains(words(with), p) })
		}
		if rest, ok := strings.CutPrefix(r.subject, "portcullis"); base && ok {
			r.peers = append(slices.Clone(r.peers), "base"+rest)
		}
		chosen = append(chosen, r)
	}
	return chosen, nil
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// measure lets the subject and the peers of r take turns.
func (l *lab) measure(r row, duration time.Duration, rounds int) (measured, error) {
	m := measured{row: r, names: append([]string{r.subject}, r.peers...), samples: make(map[string][]sample)}
	for _, name := range m.names { // pools fill, garbage collectors find their pace
		s, err := l.server(name)
		if err != nil {
			return m, err
		}
		if _, err := r.load(l, s, time.Second); err != nil {
			return m, fmt.Errorf("%s: %v", name, err)
		}
	}
	for round := range rounds {
		for i := range m.names {
			name := m.names[(i+round)%len(m.names)] // nobody is always first
			s, err := l.sample(r, l.servers[name], duration)
			if err != nil {
				return m, fmt.Errorf("%s: %v", name, err)
			}
			m.samples[name] = append(m.samples[name], s)
		}
	}
	return m, nil
}

// sample measures s once, and what it and the cores did meanwhile.
func (l *lab) sample(r row, s *server, duration time.Duration) (sample, error) {
	proxy, load := readCore(l.proxyCore), readCore(l.loadCore)
	before, unread := cpuTime(s.cmd.Process.Pid)
	began := time.Now()
	got, err := r.load(l, s, duration)
	if err != nil {
		return sample{}, err
	}
	after, err := cpuTime(s.cmd.Process.Pid)
	if err := errors.Join(unread, err); err != nil && got.count > 0 {
		return sample{}, err
	}
	if got.count > 0 {
		got.cpu = time.Duration(float64(after-before) / got.count)
		got.share = float64(after-before) / float64(time.Since(began))
	}
	var stolen [2]float64
	got.foreign, stolen[0] = readCore(l.proxyCore).since(proxy)
	got.foreign -= got.share
	got.load, stolen[1] = readCore(l.loadCore).since(load)
	got.stolen = max(stolen[0], stolen[1])
	return got, nil
}
