package router_test

import (
	"math"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

func TestPriority(t *testing.T) {
	manyHeaders := map[string][]string{}
	for i := range 300 {
		manyHeaders["x"+strings.Repeat("y", i)] = []string{"1"}
	}
	for _, tt := range []struct {
		name  string
		route entity.Route
		want  router.Priority
		words string
	}{
		{"method", entity.Route{Methods: []string{"GET"}}, 1 << 61, "1 attribute"},
		{"server name", entity.Route{SNIs: []string{"a.com"}}, 1 << 61, "1 attribute"},
		{"wildcard host", entity.Route{Hosts: []string{"*.com"}}, 1 << 61, "1 attribute"},
		{"plain host", entity.Route{Hosts: []string{"a.com"}}, 1<<61 | 1<<60, "1 attribute, plain hosts"},
		{"plain host with a port", entity.Route{Hosts: []string{"a.com:80"}}, 1<<61 | 1<<60, "1 attribute, plain hosts"},
		{"wildcard among hosts", entity.Route{Hosts: []string{"a.com", "b.*"}}, 1 << 61, "1 attribute"},
		{"an empty list of hosts counts as plain", entity.Route{Hosts: []string{}, Paths: []string{"/"}}, 1<<61 | 1<<60 | 1, "1 attribute, plain hosts, prefix of 1 byte"},
		{"headers", entity.Route{Headers: map[string][]string{"a": {"1", "2"}, "b": {"1"}}}, 1<<61 | 2<<52, "1 attribute, 2 headers"},
		{"headers are counted up to 255", entity.Route{Headers: manyHeaders}, 1<<61 | 255<<52, "1 attribute, 255 headers"},
		{"prefix", entity.Route{Paths: []string{"/abc"}}, 1<<61 | 4, "1 attribute, prefix of 4 bytes"},
		{"prefix with regex_priority", entity.Route{Paths: []string{"/"}, RegexPriority: 9}, 1<<61 | 1, "1 attribute, prefix of 1 byte"},
		{"length in bytes", entity.Route{Paths: []string{"/é"}}, 1<<61 | 3, "1 attribute, prefix of 3 bytes"},
		{"regex", entity.Route{Paths: []string{"~/abc"}}, 1<<61 | 1<<51, "1 attribute, regex of priority 0"},
		{"regex with regex_priority", entity.Route{Paths: []string{"~/"}, RegexPriority: 5}, 1<<61 | 1<<51 | 5<<19, "1 attribute, regex of priority 5"},
		{"regex_priority is kept to 32 bits", entity.Route{Paths: []string{"~/"}, RegexPriority: math.MaxInt}, 1<<61 | 1<<51 | (1<<32-1)<<19, "1 attribute, regex of priority 4294967295"},
		{"regex_priority is not negative", entity.Route{Paths: []string{"~/"}, RegexPriority: -5}, 1<<61 | 1<<51, "1 attribute, regex of priority 0"},
		{"everything", entity.Route{
			Methods: []string{"GET"}, Hosts: []string{"a.com"}, Headers: map[string][]string{"x": {"1"}}, SNIs: []string{"a.com"},
			Paths: []string{"/a"}, Sources: []entity.Endpoint{{Port: 1}}, Destinations: []entity.Endpoint{{Port: 1}},
		}, 7<<61 | 1<<60 | 1<<52 | 2, "7 attributes, plain hosts, 1 header, prefix of 2 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := router.New[int]().Edit()
			if err := e.Add(&tt.route, 0); err != nil {
				t.Fatal(err)
			}
			// A request that the route does not fit is told about it, too.
			ranked := e.Index().Explain(&router.Request{}, 1)
			var got router.Ranked
			if ranked.Matched != nil {
				got = ranked.Matched.Ranked
			} else {
				got = ranked.NearMisses[0].Ranked
			}
			if got.Priority != tt.want || got.Rank != tt.words {
				t.Errorf("got %#x (%s), want %#x (%s)", uint64(got.Priority), got.Rank, uint64(tt.want), tt.words)
			}
		})
	}
}
