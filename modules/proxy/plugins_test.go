package proxy

import (
	"net/http"
	"strings"
	"testing"

	_ "github.com/portcullis-gateway/portcullis/modules/plugin/correlationid"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/keyauth"
	_ "github.com/portcullis-gateway/portcullis/modules/plugin/requesttermination"

	"github.com/portcullis-gateway/portcullis/modules/gateway"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func TestPlugins_mostSpecificOneActs(t *testing.T) {
	g := start(t, gateway.Settings{})
	up := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Consumer", r.Header.Get("X-Consumer-Username"))
		w.Header().Set("X-Path", r.URL.RequestURI())
	})
	service := g.insert("services", to(up))
	route := g.insert("routes", schema.Object{"paths": []any{"/a"}, "service": schema.Object{"id": service}})
	anna := schema.Object{"id": g.insert("consumers", schema.Object{"username": "anna"})}
	g.insert("keyauth_credentials", schema.Object{"consumer": anna, "key": "k"})

	ref := func(id string) schema.Object { return schema.Object{"id": id} }
	stop := func(status int, scope schema.Object) {
		t.Helper()
		scope["name"], scope["config"] = "request-termination", schema.Object{"status_code": status}
		g.insert("plugins", scope)
	}
	want := func(status int, change ...func(*http.Request)) *http.Response {
		t.Helper()
		resp, body := g.get("/a?x=1", change...)
		if resp.StatusCode != status {
			t.Fatalf("got %d %s, want %d", resp.StatusCode, body, status)
		}
		return resp
	}
	key := header("Apikey", "k")
	want(200)
	g.insert("plugins", schema.Object{"name": "key-auth", "route": ref(route), "config": schema.Object{"anonymous": "guest", "hide_credentials": true}})
	g.insert("consumers", schema.Object{"username": "guest"})
	if got := want(200).Header.Get("X-Consumer"); got != "guest" {
		t.Errorf("without a key: %q", got)
	}
	if got := want(200, key).Header.Get("X-Consumer"); got != "anna" {
		t.Errorf("with a key: %q", got)
	}
	stop(508, schema.Object{})
	want(508)
	stop(507, schema.Object{"service": ref(service)})
	want(507)
	stop(506, schema.Object{"route": ref(route)})
	want(506)
	want(506, key)
	stop(505, schema.Object{"consumer": anna})
	want(506)
	want(505, key)
	stop(504, schema.Object{"route": ref(route), "service": ref(service)})
	want(504, key)
	stop(503, schema.Object{"service": ref(service), "consumer": anna})
	want(504)
	want(503, key)
	stop(502, schema.Object{"route": ref(route), "consumer": anna})
	want(502, key)
	stop(501, schema.Object{"route": ref(route), "service": ref(service), "consumer": anna})
	want(501, key)
	want(504)
}

func TestPlugins_laterOnesSeeTheAnswerOfAnEarlierOne(t *testing.T) {
	g := start(t, gateway.Settings{})
	g.route(schema.Object{"host": "10.0.0.1"}, schema.Object{"paths": []any{"/a"}})
	g.insert("plugins", schema.Object{"name": "correlation-id", "config": schema.Object{"echo_downstream": true}})
	g.insert("plugins", schema.Object{"name": "key-auth", "config": schema.Object{}})
	resp, body := g.get("/a")
	if resp.StatusCode != 401 || resp.Header.Get("Kong-Request-Id") == "" || resp.Header.Get("Www-Authenticate") != "Key" ||
		!strings.Contains(body, "\"message\":\"No API key found in request\",\n  \"request_id\":\"") {
		t.Errorf("got %d %v %s", resp.StatusCode, resp.Header, body)
	}
	if resp, _ := g.get("/nowhere"); resp.StatusCode != 404 || resp.Header.Get("Kong-Request-Id") == "" {
		t.Errorf("without a route: %d %v", resp.StatusCode, resp.Header)
	}
	if resp, _ := g.get("/nowhere", header("Kong-Request-Id", "mine")); resp.Header.Get("Kong-Request-Id") != "mine" {
		t.Errorf("without a route, with the client's identifier: %v", resp.Header)
	}
}
