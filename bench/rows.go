//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// A row compares one subject with its peers in one discipline.
type row struct {
	name    string
	title   string
	unit    string // of the figure
	less    bool   // whether a smaller figure is better
	subject string
	peers   []string

	// load puts load on s for a while and measures.
	load func(l *lab, s *server, duration time.Duration) (sample, error)
}

func rows() []row {
	web := []string{"nginx", "haproxy", "caddy"}
	tcp := []string{"nginx/stream", "haproxy/tcp", "caddy-l4"}
	return []row{
		{
			name: "plain", title: "HTTP/1.1, 64 kept connections, answers of 66 bytes, one route",
			unit: "requests/s", subject: "portcullis", peers: web,
			load: requests(0),
		},
		{
			name: "plugins", title: "the same with credentials in each request: no plugin against some, and five at once",
			unit: "requests/s", subject: "portcullis", peers: pluginPeers(),
			load: func(l *lab, s *server, d time.Duration) (sample, error) {
				return l.ask(job{Addr: s.ports["http"], Connections: 64, Header: annasRequest, Duration: d})
			},
		},
		{
			name: "wrk", title: "the same, as wrk sees it",
			unit: "requests/s", subject: "portcullis", peers: web,
			load: func(l *lab, s *server, d time.Duration) (sample, error) {
				return l.wrk(d, 64, "http://"+s.ports["http"]+"/")
			},
		},
		{
			name: "routes", title: fmt.Sprintf("the same with %d routes, each request on another one; the peers have one location", manyRoutes),
			unit: "requests/s", subject: "portcullis/routes", peers: web,
			load: requests(manyRoutes),
		},
		{
			name: "p99", title: "HTTP/1.1, 64 kept connections, the same rate for all: half of what the slower of nginx and the gateway can do",
			unit: "µs at the 99th percentile", less: true, subject: "portcullis", peers: []string{"nginx", "haproxy"},
			load: func(l *lab, s *server, d time.Duration) (sample, error) {
				rate, err := l.equalRate()
				if err != nil {
					return sample{}, err
				}
				return l.latency(d, 64, rate, "http://"+s.ports["http"]+"/")
			},
		},
		{
			name: "100k", title: "HTTP/1.1, 16 kept connections, answers of 100 kB",
			unit: "requests/s", subject: "portcullis", peers: web, load: bodies("/100k", 16),
		},
		{
			name: "10m", title: "HTTP/1.1, 4 kept connections, answers of 10 MB",
			unit: "requests/s", subject: "portcullis", peers: web, load: bodies("/10m", 4),
		},
		{
			name: "connections", title: "HTTP/1.1, a new connection for each request",
			unit: "requests/s", subject: "portcullis", peers: web,
			load: simply("visits", "http", 64),
		},
		{
			name: "tls", title: "HTTP/1.1 in TLS 1.3, 64 kept connections, answers of 66 bytes",
			unit: "requests/s", subject: "portcullis", peers: web,
			load: func(l *lab, s *server, d time.Duration) (sample, error) {
				return l.wrk(d, 64, "https://"+s.ports["https"]+"/")
			},
		},
		{
			name: "tls-resumed", title: "TLS 1.3, a new connection with a resumed session for each request (P-256, X25519)",
			unit: "requests/s", subject: "portcullis", peers: web, load: handshakes("resumed"),
		},
		{
			name: "tls-full", title: "TLS 1.3, a full handshake for each request (P-256, X25519)",
			unit: "requests/s", subject: "portcullis", peers: web, load: handshakes("full"),
		},
		{
			name: "http2", title: "HTTP/2 in TLS 1.3, 16 connections with 16 streams each, answers of 66 bytes",
			unit: "requests/s", subject: "portcullis", peers: web,
			load: func(l *lab, s *server, d time.Duration) (sample, error) {
				return l.h2load(d, "-c16", "-m16", "https://"+s.ports["https"]+"/")
			},
		},
		{
			name: "grpc", title: "gRPC without TLS, unary, 16 connections with 16 streams each, messages of 100 bytes",
			unit: "requests/s", subject: "portcullis", peers: web,
			load: func(l *lab, s *server, d time.Duration) (sample, error) {
				message := filepath.Join(l.dir, "message")
				if err := os.WriteFile(message, append([]byte{0, 0, 0, 0, 100}, make([]byte, 100)...), 0o644); err != nil {
					return sample{}, err
				}
				return l.h2load(d, "-c16", "-m16", "-d", message, "-H", "content-type: application/grpc", "-H", "te: trailers", "http://"+s.ports["grpc"]+"/bench.Echo/Unary")
			},
		},
		{
			name: "idle", title: "HTTP/1.1, memory of the process for each idle connection, of 50,000 or as many as the limit of open files allows",
			unit: "kB each", less: true, subject: "portcullis", peers: web,
			load: func(l *lab, s *server, _ time.Duration) (sample, error) { return l.idle(s) },
		},
		{
			name: "transparent", title: "HTTP/1.1, a new connection for each request, on a listener with the flag transparent and on one without",
			unit: "requests/s", subject: "portcullis/transparent", peers: []string{"portcullis"},
			load: simply("visits", "http", 64),
		},
		{
			name: "transparent-kept", title: "HTTP/1.1, 64 kept connections, on a listener with the flag transparent and on one without",
			unit: "requests/s", subject: "portcullis/transparent", peers: []string{"portcullis"},
			load: requests(0),
		},
		{
			name: "transparent-stream", title: "TCP, a new connection for each request and answer, on a listener with the flag transparent and on one without",
			unit: "connections/s", subject: "portcullis/stream, transparent", peers: []string{"portcullis/stream"},
			load: simply("once", "once", 64),
		},
		{
			name: "transparent-bulk", title: "TCP, as much as possible on 2 connections, on a listener with the flag transparent and on one without",
			unit: "MB/s", subject: "portcullis/stream, transparent", peers: []string{"portcullis/stream"},
			load: simply("bulk", "bulk", 2),
		},
		{
			name: "stream-connections", title: "TCP, a new connection for each request and answer",
			unit: "connections/s", subject: "portcullis/stream", peers: tcp, load: simply("once", "once", 64),
		},
		{
			name: "stream-pong", title: "TCP, 64 bytes there and back on 64 connections",
			unit: "round trips/s", subject: "portcullis/stream", peers: tcp, load: simply("pong", "pong", 64),
		},
		{
			name: "stream-bulk", title: "TCP, as much as possible on 2 connections",
			unit: "MB/s", subject: "portcullis/stream", peers: tcp, load: simply("bulk", "bulk", 2),
		},
		{
			name: "stream-sni", title: "TLS that is passed through by server name, a new connection for each ClientHello and answer; plain: the same bytes routed by port",
			unit: "connections/s", subject: "portcullis/stream", peers: append([]string{"portcullis/stream, plain"}, tcp...),
			load: func(l *lab, s *server, d time.Duration) (sample, error) {
				port := "sni"
				if strings.HasSuffix(s.name, ", plain") {
					port = "once"
				}
				return simply("hello", port, 64)(l, s, d)
			},
		},
	}
}

// requests sends small requests on 64 kept connections, to one route or to one
// of many in turn.
func requests(routes int) func(*lab, *server, time.Duration) (sample, error) {
	return func(l *lab, s *server, d time.Duration) (sample, error) {
		return l.ask(job{Addr: s.ports["http"], Connections: 64, Routes: routes, Duration: d})
	}
}

// simply runs our own load generator in a mode that needs no more than an
// address and a number of connections.
func simply(mode, port string, connections int) func(*lab, *server, time.Duration) (sample, error) {
	return func(l *lab, s *server, d time.Duration) (sample, error) {
		r, err := l.own(mode, d, "-addr", s.ports[port], "-c", strconv.Itoa(connections))
		return r.rate(), err
	}
}

// bodies reads large answers on a number of connections.
func bodies(path string, connections int) func(*lab, *server, time.Duration) (sample, error) {
	return func(l *lab, s *server, d time.Duration) (sample, error) {
		r, err := l.own("body", d, "-addr", s.ports["http"], "-path", path, "-c", strconv.Itoa(connections))
		return r.rate(), err
	}
}

// handshakes makes connections, full or resumed, with one request each.
func handshakes(mode string) func(*lab, *server, time.Duration) (sample, error) {
	return func(l *lab, s *server, d time.Duration) (sample, error) {
		r, err := l.own(mode, d, "-addr", s.ports["https"], "-c", "16")
		return r.rate(), err
	}
}

// equalRate answers the rate at which latencies are compared: half of what the
// slower of nginx and the gateway can do. It is measured once.
func (l *lab) equalRate() (float64, error) {
	for _, name := range []string{"nginx", "portcullis"} {
		if l.rate > 0 && name == "nginx" {
			break
		}
		s, err := l.server(name)
		if err != nil {
			return 0, err
		}
		most, err := requests(0)(l, s, 2*time.Second)
		if err != nil {
			return 0, err
		}
		if l.rate == 0 || most.value/2 < l.rate {
			l.rate = most.value / 2
		}
	}
	return l.rate, nil
}
