//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A sample is what one peer did in one round.
type sample struct {
	value float64       // the figure of the row, in its unit
	count float64       // operations during the round, to share the CPU time; 0: none
	cpu   time.Duration // CPU time of the proxy for each operation

	// Shares of the round.
	share   float64 // the proxy had its core
	foreign float64 // something else had the proxy's core
	load    float64 // the load's core was busy
	stolen  float64 // another machine had a core
}

var (
	wrkTotal  = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([\d.]+)(\w+),`)
	wrkRate   = regexp.MustCompile(`(?m)^Requests/sec:\s+([\d.]+)`)
	wrkErrors = regexp.MustCompile(`(?m)^\s*(Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)|Non-2xx or 3xx responses: \d+)`)
	h2Total   = regexp.MustCompile(`(?m)^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout`)
	h2Rate    = regexp.MustCompile(`(?m)^finished in [\d.]+\w+, ([\d.]+) req/s`)
)

// run executes a load generator on the load's core.
func (l *lab) run(args ...string) (string, error) {
	out, err := l.command(l.loadCore, args...).CombinedOutput()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		return "", fmt.Errorf("%s: %v\n%s", args[0], err, out)
	}
	return string(out), err
}

// wrk asks for requests per second with a number of kept connections.
func (l *lab) wrk(duration time.Duration, connections int, args ...string) (sample, error) {
	args = append([]string{"wrk", "-t1", "-c" + strconv.Itoa(connections), fmt.Sprintf("-d%ds", max(1, int(duration.Seconds()+0.5)))}, args...)
	out, err := l.run(args...)
	if err != nil {
		return sample{}, err
	}
	total, rate := wrkTotal.FindStringSubmatch(out), wrkRate.FindStringSubmatch(out)
	if total == nil || rate == nil {
		return sample{}, fmt.Errorf("wrk said:\n%s", out)
	}
	if bad := wrkErrors.FindString(out); bad != "" {
		return sample{}, fmt.Errorf("wrk: %s", strings.TrimSpace(bad))
	}
	return sample{value: number(rate[1]), count: number(total[1])}, nil
}

// h2load runs h2load, and answers requests per second.
func (l *lab) h2load(duration time.Duration, args ...string) (sample, error) {
	out, err := l.run(append([]string{"h2load", "-t1", "-D", strconv.FormatInt(duration.Milliseconds(), 10) + "ms"}, args...)...)
	if err != nil {
		return sample{}, err
	}
	total, rate := h2Total.FindStringSubmatch(out), h2Rate.FindStringSubmatch(out)
	if total == nil || rate == nil {
		return sample{}, fmt.Errorf("h2load said:\n%s", out)
	}
	if total[3] != "0" || total[4] != "0" || total[5] != "0" {
		return sample{}, fmt.Errorf("h2load: %s", total[0])
	}
	return sample{value: number(rate[1]), count: number(total[1])}, nil
}

// latency sends rate requests per second over kept connections, whatever the
// peer makes of them, and answers the 99th percentile in microseconds.
func (l *lab) latency(duration time.Duration, connections int, rate float64, url string) (sample, error) {
	log := filepath.Join(l.dir, "latency.log")
	defer os.Remove(log)
	s, err := l.h2load(duration, "--h1", "-c", strconv.Itoa(connections), "--rps", fmt.Sprintf("%.2f", rate/float64(connections)), "--log-file", log, url)
	if err != nil {
		return sample{}, err
	}
	if s.value < 0.9*rate {
		return sample{}, fmt.Errorf("%.0f requests per second were sent, of %.0f that were wanted", s.value, rate)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return sample{}, err
	}
	var took []float64
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) >= 3 {
			took = append(took, number(fields[2]))
		}
	}
	if len(took) == 0 {
		return sample{}, errors.New("h2load logged nothing")
	}
	slices.Sort(took)
	s.value = took[len(took)*99/100]
	return s, nil
}

// own runs this program's load generator in the mode given; see blast.go.
func (l *lab) own(mode string, duration time.Duration, args ...string) (result, error) {
	out, err := l.run(append([]string{os.Args[0], "load", "-mode", mode, "-duration", duration.String()}, args...)...)
	if err != nil {
		return result{}, err
	}
	var r result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		return result{}, fmt.Errorf("load: %v\n%s", err, out)
	}
	if r.Errors > 0 {
		return result{}, fmt.Errorf("load: %d errors, the first: %s", r.Errors, r.Error)
	}
	return r, nil
}

// ask has the origin send requests, and answers how many per second came back.
func (l *lab) ask(j job) (sample, error) {
	s := l.servers["origin"]
	if err := json.NewEncoder(s.input).Encode(j); err != nil {
		return sample{}, err
	}
	var r result
	if err := s.output.Decode(&r); err != nil {
		return sample{}, fmt.Errorf("origin: %v\n%s", err, s.log.String())
	}
	if r.Errors > 0 {
		return sample{}, errors.New(r.Error)
	}
	return r.rate(), nil
}

func number(s string) float64 {
	n, _ := strconv.ParseFloat(s, 64)
	return n
}
