package command

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// explanation is an answer to POST /explain.
const explanation = `{
	"matched": {
		"route": {"id": "0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1", "name": "orders", "service": {"id": "6d0f3c4e-2d6a-4f57-9e0a-1c2b3d4e5f60"}},
		"priority": 2305843009213693959, "rank": "1 attribute, prefix of 7 bytes", "protocols": ["https"], "prefix": "/orders", "captures": {"1": "7", "id": "7"}
	},
	"near_misses": [
		{"route": {"id": "11111111-6f0c-4f5b-8a52-4d4a53a4c3f1", "name": "writes"}, "priority": 1, "rank": "2 attributes",
			"failed": [{"attribute": "method", "expected": ["POST", "PUT"], "got": "GET"}, {"attribute": "header", "name": "x-tenant", "expected": ["blue"]}]},
		{"route": {"id": "22222222-6f0c-4f5b-8a52-4d4a53a4c3f1"}, "priority": 1, "rank": "1 attribute, prefix of 1 byte",
			"failed": [{"attribute": "priority", "expected": ["above 7"], "got": "1"}]},
		{"route": {"id": "33333333-6f0c-4f5b-8a52-4d4a53a4c3f1", "name": "twin"}, "priority": 7, "rank": "same",
			"failed": [{"attribute": "id", "expected": ["above x"], "got": "33333333-6f0c-4f5b-8a52-4d4a53a4c3f1"}]}
	]
}`

func TestExplain_forPeople(t *testing.T) {
	_, address := serve(t)
	run(t, "", "explain", "--address", address, "api.example.com/orders/7").check(t, 0, `GET http://api.example.com/orders/7

  takes the route "orders"
    id               0b5a1c9e-6f0c-4f5b-8a52-4d4a53a4c3f1
    service          6d0f3c4e-2d6a-4f57-9e0a-1c2b3d4e5f60
    protocols        https: over http, the answer is 426 or a redirect
    prefix           /orders
    capture 1        7
    capture id       7
    priority         1 attribute, prefix of 7 bytes

Other routes, the closest first:

  the route "writes"
    method           GET, but the route wants POST or PUT
    header x-tenant  none, but the route wants blue

  the route 22222222-6f0c-4f5b-8a52-4d4a53a4c3f1
    priority         it fits too, but ranks lower: 1 attribute, prefix of 1 byte

  the route "twin"
    id               it fits too and ranks the same, but its id is smaller: 33333333-6f0c-4f5b-8a52-4d4a53a4c3f1
`, "")
}

// TestProtocols: what a route wants is only told to those whom it concerns.
func TestProtocols(t *testing.T) {
	for _, tt := range []struct {
		url, wants, want string
	}{
		{"/", "", ""},
		{"http://a/", "http https", ""},
		{"https://a/", "https http", ""},
		{"https://a/", "http", "http"},
		{"http://a/", "grpc grpcs", "grpc, grpcs"},
		{"HTTPS://a/", "https", "https"},
		{"http://a/", "https", "https: over http, the answer is 426 or a redirect"},
		{"/", "https", "https: over http, the answer is 426 or a redirect"},
	} {
		text, all := protocols(&explainRequest{URL: tt.url}, strings.Fields(tt.wants))
		if all != (tt.want == "") || !all && text != tt.want {
			t.Errorf("%s for a route that wants %s: %q, %v; want %q", tt.url, tt.wants, text, all, tt.want)
		}
	}
}

func TestExplain_forPrograms(t *testing.T) {
	_, address := serve(t)
	r := run(t, "", "explain", "--json", "--address", address, "/orders/7")
	r.check(t, 0, explanation+"\n", "")
}

func TestExplain_noRoute(t *testing.T) {
	const printed = `{"matched":null,"near_misses":[]}`
	a, address := serveText(t, printed)
	run(t, "", "explain", "--address", address, "/x").check(t, statusNo, "GET /x\n\n  No route fits.\n", "")
	if a.last.URL.Path != "/explain" {
		t.Error(a.last.URL)
	}
}

func TestExplain_request(t *testing.T) {
	a, address := serve(t)
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"a path", []string{"/a?b"}, `{"method":"GET","url":"/a?b"}`},
		{"a host", []string{"example.com/a"}, `{"method":"GET","url":"http://example.com/a"}`},
		{"all there is", []string{
			"--method", "POST", "-H", "X-A: 1", "--header", "X-A:2", "--header", "X-B: a: b",
			"--source", "10.0.0.1:99", "--destination", "10.0.0.2:443", "--sni", "x.com", "https://y.com/",
		}, `{"method":"POST","url":"https://y.com/","headers":{"X-A":["1","2"],"X-B":["a: b"]},"source":"10.0.0.1:99","destination":"10.0.0.2:443","sni":"x.com"}`},
	} {
		run(t, "", append([]string{"explain", "--address", address}, tt.args...)...)
		var got, want any
		if err := json.Unmarshal([]byte(a.body), &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) || a.last.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: sent %s, want %s", tt.name, a.body, tt.want)
		}
	}
}

func TestExplain_strangeAnswer(t *testing.T) {
	_, address := serveText(t, "hello")
	r := run(t, "", "explain", "--address", address, "/x")
	if r.status != statusTrouble || !strings.HasPrefix(r.err, "Error: reading the answer of the Admin API: ") {
		t.Errorf("status %d\n%s", r.status, r.err)
	}
}
