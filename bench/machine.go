//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// describe says on what the figures were measured.
func (l *lab) describe(w io.Writer) {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Fprintf(w, "%s, %d cores, Linux %s\n", processor(), runtime.NumCPU(), strings.TrimSpace(string(kernel)))
	fmt.Fprintf(w, "proxies on core %d; load and upstream on core %d\n", l.proxyCore, l.loadCore)
	for _, command := range [][]string{{"nginx", "-v"}, {"haproxy", "-v"}, {l.binary, "version"}, {"wrk", "-v"}, {"h2load", "--version"}} {
		out, _ := exec.Command(command[0], command[1:]...).CombinedOutput()
		line, _, _ := strings.Cut(string(out), "\n")
		if command[0] == l.binary {
			line = "Caddy " + line
		}
		fmt.Fprintln(w, strings.TrimSpace(line))
	}
}

func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
