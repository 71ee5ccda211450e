package integration

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkImport takes a declarative file with 100,000 routes of 1,000
// services into a running gateway with an embedded store: reading the file,
// sending it, validating, syncing the disk, compiling the routes.
func BenchmarkImport(b *testing.B) {
	const services, routes = 1_000, 100
	var text strings.Builder
	text.WriteString("_format_version: '3.0'\nservices:\n")
	for s := range services {
		fmt.Fprintf(&text, "- name: s%d\n  url: http://127.0.0.1:1/%d\n  routes:\n", s, s)
		for r := range routes {
			fmt.Fprintf(&text, "  - name: s%d-r%d\n    hosts: [h%d.example.com]\n    paths: [/s%d/r%d]\n    methods: [GET, POST]\n", s, r, r, s, r)
		}
	}
	for b.Loop() {
		b.StopTimer()
		p := newHome(b, usual).start()
		p.write("kong.yml", text.String())
		b.StartTimer()
		if out, code := p.caddy("gateway", "config", "import", "--address", "http://"+p.addr("ADMIN"), "kong.yml"); code != 0 {
			b.Fatalf("exit code %d\n%s", code, out)
		}
		b.StopTimer()
		p.get(fmt.Sprintf("/s%d/r%d", services-1, routes-1), 502, "Host", fmt.Sprintf("h%d.example.com", routes-1))
		p.stop()
		b.StartTimer()
	}
}

// BenchmarkRequest sends plain requests through the proxy, one after the
// other, on one connection, with few routes and with many.
func BenchmarkRequest(b *testing.B) {
	for _, routes := range []int{10, 10_000} {
		b.Run(fmt.Sprintf("routes=%d", routes), func(b *testing.B) {
			p := newHome(b, dbless).start()
			behind := upstream(b, echo)
			if a := do(b, "POST", "http://"+p.addr("ADMIN")+"/config", kong(behind.URL, routes), "Content-Type", "text/yaml"); a.status != 201 {
				b.Fatalf("POST /config: %d %.1000s", a.status, a.body)
			}
			keep(b, p, fmt.Sprintf("/r%d", routes-1))
		})
	}
}
