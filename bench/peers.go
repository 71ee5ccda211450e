//go:build linux

package main

import (
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
	talks    bool // takes jobs on its standard input
	command  func(l *lab, s *server, config string) []string
}

// manyRoutes is how many routes the rows for many routes have.
const manyRoutes = 100_000

func peers() map[string]peer {
	all := make(map[string]peer)
	for _, p := range []peer{
		{name: "nginx", template: "nginx.conf", command: runNginx},
		{name: "haproxy", template: "haproxy.cfg", command: runHAProxy},
		{name: "caddy", template: "caddy.caddyfile", command: runCaddy},
		gateway("portcullis", 1, ""),
		gateway("portcullis/routes", manyRoutes, ""),
		gateway("portcullis/rate-limiting", 1, chain("rate-limiting")),
		gateway("portcullis/key-auth", 1, chain("key-auth")),
		gateway("portcullis/key-auth+rate-limiting", 1, chain("key-auth", "rate-limiting")),
		gateway("portcullis/basic-auth", 1, chain("basic-auth")),
		gateway("portcullis/prometheus", 1, chain("prometheus")),
		gateway("portcullis/five", 1, chain("key-auth", "acl", "rate-limiting", "correlation-id", "request-transformer")),
		gateway("portcullis/transparent", 1, ""),
		gateway("base", 1, ""),
		gateway("base/routes", manyRoutes, ""),

		{name: "nginx/stream", template: "nginx-stream.conf", command: runNginx},
		{name: "haproxy/tcp", template: "haproxy-tcp.cfg", command: runHAProxy},
		{name: "caddy-l4", template: "caddy-l4.caddyfile", command: runCaddy},
		streams("portcullis/stream"),
		streams("portcullis/stream, plain"),
		streams("portcullis/stream, transparent"),
		streams("base/stream"),
	} {
		all[p.name] = p
	}
	return all
}

// The consumer anna may use the services of the rows about plugins.
const (
	anna = `consumers:
- username: anna
  keyauth_credentials:
  - key: PdDMTOZPHMO4r1gqv7lFtRvLlHMzZRV5
  basicauth_credentials:
  - username: anna
    password: open-sesame
  acls:
  - group: readers
`
	annasRequest = "apikey: PdDMTOZPHMO4r1gqv7lFtRvLlHMzZRV5\r\nAuthorization: Basic YW5uYTpvcGVuLXNlc2FtZQ==\r\n"
)

// settings are those of plugins in these rows, beside the defaults.
var settings = map[string]string{
	"acl":                 "{allow: [readers]}",
	"prometheus":          "{status_code_metrics: true, latency_metrics: true, bandwidth_metrics: true}",
	"rate-limiting":       "{minute: 1000000000}",
	"request-transformer": "{add: {headers: ['x-gateway:yes']}}",
}

// flagsOf are flags for all listeners of a gateway. Without the privilege, those of
// `transparent` take redirected connections only; for the others it is the same
// work.
func flagsOf(name string) string {
	switch {
	case !strings.HasSuffix(name, "transparent"):
		return ""
	case os.Geteuid() == 0:
		return " transparent"
	}
	return " transparent=redirect"
}

// chain writes the items of a declarative file that put plugins on all services.
func chain(names ...string) string {
	var b strings.Builder
	b.WriteString(anna + "plugins:\n")
	for _, name := range names {
		fmt.Fprintf(&b, "- name: %s\n", name)
		if s := settings[name]; s != "" {
			fmt.Fprintf(&b, "  config: %s\n", s)
		}
	}
	return b.String()
}

// pluginPeers are the gateways with plugins, by name.
func pluginPeers() []string {
	return []string{"portcullis/rate-limiting", "portcullis/key-auth", "portcullis/key-auth+rate-limiting",
		"portcullis/basic-auth", "portcullis/prometheus", "portcullis/five"}
}

func runNginx(_ *lab, s *server, config string) []string {
	return []string{"nginx", "-p", s.dir, "-c", config}
}

func runHAProxy(_ *lab, _ *server, config string) []string {
	return []string{"haproxy", "-db", "-f", config}
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

// streams is the gateway with a route for each of its stream ports, and one
// for a server name.
func streams(name string) peer {
	return peer{
		name: name, template: "portcullis-stream.caddyfile", command: runCaddy,
		prepare: func(l *lab, s *server) error {
			var b strings.Builder
			b.WriteString("_format_version: '3.0'\nservices:\n")
			for _, use := range []string{"pong", "once", "bulk"} {
				_, port, _ := strings.Cut(s.ports[use], ":")
				fmt.Fprintf(&b, "- name: %[1]s\n  url: tcp://%[2]s\n  routes:\n  - name: %[1]s\n    protocols: [tcp]\n    destinations: [{port: %[3]s}]\n", use, l.origins[use], port)
			}
			fmt.Fprintf(&b, "- name: sni\n  url: tcp://%s\n  routes:\n  - name: sni\n    protocols: [tls_passthrough]\n    snis: [localhost]\n", l.origins["once"])
			return os.WriteFile(filepath.Join(s.dir, "kong.yml"), []byte(b.String()), 0o644)
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
		name: "origin", talks: true,
		prepare: func(_ *lab, s *server) error {
			for _, use := range []string{"http", "grpc", "pong", "once", "bulk"} {
				if _, err := s.listen(use); err != nil {
					return err
				}
			}
			return nil
		},
		command: func(l *lab, s *server, _ string) []string {
			args := []string{os.Args[0], "origin", "-data", l.dir}
			for use, addr := range s.ports {
				args = append(args, "-"+use, addr)
			}
			return args
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
