package router_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
)

// explain answers the JSON that a client of the Admin API gets.
func explain(t *testing.T, r *router.Request, max int, routes ...*entity.Route) string {
	t.Helper()
	for i, route := range routes {
		route.ID = routeID(i + 1)
	}
	b, err := json.MarshalIndent(index(t, routes).Explain(r, max), "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestExplain_winnerAndNearMisses(t *testing.T) {
	got := explain(t, &router.Request{
		Method:      "GET",
		Host:        "b.com:8000",
		Path:        "/v1/users/17",
		Header:      http.Header{"X-Version": {"v2", "v3"}},
		TLS:         true,
		SNI:         "b.com",
		Source:      netip.MustParseAddrPort("10.0.0.1:50000"),
		Destination: netip.MustParseAddrPort("10.0.0.2:8443"),
	}, 10,
		&entity.Route{Name: "users", Paths: []string{"/v2", "~/v1/users/(?<id>[0-9]+)(/x)?"}, Service: &entity.Ref{ID: routeID(99)}},
		&entity.Route{Name: "other-host", Hosts: []string{"a.com", "b.com:8443"}, Paths: []string{"/v1"}},
		&entity.Route{Name: "shorter", Paths: []string{"/v1", "/v2/long"}},
		&entity.Route{Name: "strict", Methods: []string{"POST"}, Headers: map[string][]string{"x-version": {"v1"}, "x-none": {"1"}}, SNIs: []string{"a.com"},
			Sources: []entity.Endpoint{{IP: "10.1.0.0/16"}, {Port: 1}}, Destinations: []entity.Endpoint{{IP: "10.0.0.2", Port: 443}}},
		&entity.Route{Name: "elsewhere", Paths: []string{"/v3", "~/v4"}},
	)
	want := `{
	"matched": {
		"route": {
			"id": "e8fb37f1-102d-461e-9c51-6608a6bb8101",
			"name": "users",
			"service": {
				"id": "e8fb37f1-102d-461e-9c51-6608a6bb8199"
			}
		},
		"priority": 2308094809027379200,
		"rank": "1 attribute, regex of priority 0",
		"prefix": "/v1/users/17",
		"captures": {
			"1": "17",
			"id": "17"
		}
	},
	"near_misses": [
		{
			"route": {
				"id": "e8fb37f1-102d-461e-9c51-6608a6bb8103",
				"name": "shorter"
			},
			"priority": 2305843009213693955,
			"rank": "1 attribute, prefix of 3 bytes",
			"failed": [
				{
					"attribute": "priority",
					"expected": [
						"above 2308094809027379200 (1 attribute, regex of priority 0)"
					],
					"got": "2305843009213693955"
				}
			]
		},
		{
			"route": {
				"id": "e8fb37f1-102d-461e-9c51-6608a6bb8102",
				"name": "other-host"
			},
			"priority": 5764607523034234883,
			"rank": "2 attributes, plain hosts, prefix of 3 bytes",
			"failed": [
				{
					"attribute": "host",
					"expected": [
						"a.com",
						"b.com:8443"
					],
					"got": "b.com:8000"
				}
			]
		},
		{
			"route": {
				"id": "e8fb37f1-102d-461e-9c51-6608a6bb8105",
				"name": "elsewhere"
			},
			"priority": 2308094809027379200,
			"rank": "1 attribute, regex of priority 0",
			"failed": [
				{
					"attribute": "path",
					"expected": [
						"/v3",
						"~/v4"
					],
					"got": "/v1/users/17"
				}
			]
		},
		{
			"route": {
				"id": "e8fb37f1-102d-461e-9c51-6608a6bb8104",
				"name": "strict"
			},
			"priority": 11538222245323210752,
			"rank": "5 attributes, 2 headers",
			"failed": [
				{
					"attribute": "method",
					"expected": [
						"POST"
					],
					"got": "GET"
				},
				{
					"attribute": "header",
					"name": "x-none",
					"expected": [
						"1"
					]
				},
				{
					"attribute": "header",
					"name": "x-version",
					"expected": [
						"v1"
					],
					"got": "v2, v3"
				},
				{
					"attribute": "sni",
					"expected": [
						"a.com"
					],
					"got": "b.com"
				},
				{
					"attribute": "source",
					"expected": [
						"10.1.0.0/16",
						"port 1"
					],
					"got": "10.0.0.1 port 50000"
				},
				{
					"attribute": "destination",
					"expected": [
						"10.0.0.2 port 443"
					],
					"got": "10.0.0.2 port 8443"
				}
			]
		}
	]
}`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestExplain_noRoute(t *testing.T) {
	if got, want := explain(t, &router.Request{Path: "/"}, 5), "{\n\t\"matched\": null,\n\t\"near_misses\": []\n}"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestExplain_equalPriority(t *testing.T) {
	got := explain(t, &router.Request{Path: "/a"}, 5, &entity.Route{Paths: []string{"/a"}}, &entity.Route{Paths: []string{"/a"}})
	var e router.Explanation
	if err := json.Unmarshal([]byte(got), &e); err != nil {
		t.Fatal(err)
	}
	want := []router.Failure{{Attribute: "id", Expected: []string{"above " + routeID(2).String()}, Got: routeID(1).String()}}
	if e.Matched.Route.ID != routeID(2) || !cmp.Equal(e.NearMisses[0].Failed, want) {
		t.Errorf("got %s", got)
	}
}

func TestExplain_isBounded(t *testing.T) {
	routes := make([]*entity.Route, 50)
	for i := range routes {
		routes[i] = &entity.Route{Hosts: []string{"a.com"}, Paths: []string{"/a"}}
	}
	routes[40].Methods = []string{"GET"}
	for i, r := range routes {
		r.ID = routeID(i)
	}
	got := index(t, routes).Explain(&router.Request{Method: "POST", Host: "b.com", Path: "/a"}, 3)
	if got.Matched != nil || len(got.NearMisses) != 3 {
		t.Fatalf("got %+v", got)
	}
	for i, m := range got.NearMisses {
		if want := routeID(49 - i); m.Route.ID != want || len(m.Failed) != 1 {
			t.Errorf("near miss %d is %v, %v", i, m.Route.ID, m.Failed)
		}
	}
	if got := index(t, routes).Explain(&router.Request{Path: "/"}, 0); len(got.NearMisses) != 0 {
		t.Errorf("got %+v, want none", got.NearMisses)
	}
}
