//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A peer says how to run one server.
type peer struct {
	name     string
	template string // in templates/; its ports become the server's
	prepare  func(*lab, *server) error
	command  func(l *lab, s *server, config string) []string
}

// manyRoutes is how many routes the rows for many routes have.
const manyRoutes = 100_000

func peers() map[string]peer {
	all := make(map[string]peer)
	for _, p := range []peer{
		{name: "nginx", template: "nginx.conf", command: runNginx},
		{name: "haproxy", template: "haproxy.cfg", command: func(_ *lab, _ *server, config string) []string {
			return []string{"haproxy", "-db", "-f", config}
		}},
		{name: "caddy", template: "caddy.caddyfile", command: runCaddy},
		gateway("portcullis", 1, ""),
		gateway("portcullis/routes", manyRoutes, ""),
		gateway("base", 1, ""),
		gateway("base/routes", manyRoutes, ""),
	} {
		all[p.name] = p
	}
	return all
}

func runNginx(_ *lab, s *server, config string) []string {
	return []string{"nginx", "-p", s.dir, "-c", config}
}

func runCaddy(l *lab, s *server, config string) []string {
	binary := l.binary
	if other, ok := l.binaries[strings.SplitN(s.name, "/", 2)[0]]; ok {
		binary = other
	}
	return []string{binary, "run", "--config", config, "--adapter", "caddyfile"}
}

// gateway is the gateway with a number of routes, and with plugins if any: the
// items of a declarative file's list, for all services.
func gateway(name string, routes int, plugins string) peer {
	return peer{
		name: name, template: "portcullis.caddyfile", command: runCaddy,
		prepare: func(l *lab, s *server) error {
			return os.WriteFile(filepath.Join(s.dir, "kong.yml"), []byte(l.declarative(routes, plugins)), 0o644)
		},
	}
}

// declarative writes the gateway's entities: one service for the web with
// routes below /r/, and one for gRPC.
func (l *lab) declarative(routes int, plugins string) string {
	var b strings.Builder
	b.WriteString("_format_version: '3.0'\n")
	fmt.Fprintf(&b, "certificates:\n- cert: |\n%s  key: |\n%s  snis:\n  - name: '*'\n", indent(l.cert), indent(l.key))
	fmt.Fprintf(&b, "services:\n- name: grpc\n  url: grpc://%s\n  routes:\n  - name: grpc\n    protocols: [grpc]\n    paths: [/bench.Echo]\n", l.origins["grpc"])
	fmt.Fprintf(&b, "- name: web\n  url: http://%s\n  routes:\n", l.origins["http"])
	if routes == 1 {
		b.WriteString("  - name: all\n    paths: [/]\n    strip_path: false\n")
	} else {
		for i := range routes {
			fmt.Fprintf(&b, "  - name: r%d\n    paths: [/r/%d/x]\n    strip_path: false\n", i, i)
		}
	}
	b.WriteString(plugins)
	return b.String()
}

func indent(file string) string {
	text, _ := os.ReadFile(file)
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		b.WriteString("    " + line)
	}
	return b.String()
}

// startOrigin runs the upstream of all peers on the load's core.
func (l *lab) startOrigin() error {
	s, err := l.start(peer{
		name: "origin",
		prepare: func(_ *lab, s *server) error {
			_, web := s.listen("http")
			_, grpc := s.listen("grpc")
			return errors.Join(web, grpc)
		},
		command: func(l *lab, s *server, _ string) []string {
			return []string{os.Args[0], "origin", "-http", s.ports["http"], "-grpc", s.ports["grpc"], "-data", l.dir}
		},
	}, l.loadCore)
	if err != nil {
		return err
	}
	l.origins = s.ports
	return nil
}

// server answers the running server called name, and starts it at first.
func (l *lab) server(name string) (*server, error) {
	if s, ok := l.servers[name]; ok {
		return s, nil
	}
	p, ok := peers()[name]
	if !ok {
		return nil, fmt.Errorf("there is no peer %q", name)
	}
	return l.start(p, l.proxyCore)
}
