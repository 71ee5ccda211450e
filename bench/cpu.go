//go:build linux

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// cpuTime answers how long the process and its children have been computing,
// in user and in kernel mode. The resolution is a tick, 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// the name in parentheses may hold anything
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	var ticks int64
	for _, field := range fields[11:13] { // utime, stime: proc(5), fields 14 and 15
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	total := time.Duration(ticks) * 10 * time.Millisecond
	for _, child := range children(pid) {
		if spent, err := cpuTime(child); err == nil {
			total += spent
		}
	}
	return total, nil
}

func children(pid int) []int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	var pids []int
	for _, field := range strings.Fields(string(text)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// resident answers the resident memory of the process and its children that
// no other process shares, in bytes.
func resident(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	var total int64
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			total += kib << 10
		}
	}
	for _, child := range children(pid) {
		total += resident(child)
	}
	return total
}

// A coreTime is what a core has done since the machine started, in ticks.
type coreTime struct{ busy, idle, stolen int64 }

func readCore(core int) coreTime {
	text, _ := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != fmt.Sprintf("cpu%d", core) {
			continue
		}
		var n [8]int64 // user nice system idle iowait irq softirq steal
		for i := range n {
			n[i], _ = strconv.ParseInt(fields[i+1], 10, 64)
		}
		return coreTime{busy: n[0] + n[1] + n[2] + n[5] + n[6], idle: n[3] + n[4], stolen: n[7]}
	}
	return coreTime{}
}

// since answers which share of the time after before the core was busy, and
// which share other machines had it.
func (c coreTime) since(before coreTime) (busy, stolen float64) {
	b, i, s := c.busy-before.busy, c.idle-before.idle, c.stolen-before.stolen
	total := float64(max(b+i+s, 1))
	return float64(b) / total, float64(s) / total
}
