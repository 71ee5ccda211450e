package entity

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// A refusal is an input with the messages that Kong has for it. An empty
// message means that the input is accepted.
type refusal struct{ in, message string }

func testRefusals(t *testing.T, table string, cases []refusal) {
	t.Helper()
	c := NewCatalog(testPlugins)
	for _, tt := range cases {
		in := parse(t, tt.in)
		_, err := c.Table(table).Process(schema.Insert, in, nil, nil)
		got := ""
		if err != nil {
			got = err.Message
		}
		if got != tt.message {
			t.Errorf("%s\n got  %s\n want %s", tt.in, got, tt.message)
		}
	}
}

func parse(t testing.TB, text string) schema.Object {
	t.Helper()
	var o schema.Object
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

func insert(t testing.TB, table *schema.Table, text string) schema.Object {
	t.Helper()
	o, err := table.Process(schema.Insert, parse(t, text), nil, nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return o
}

// one is a message of a single violation, two of several.
func one(message string) string { return "schema violation (" + message + ")" }

func several(messages ...string) string {
	n := string(rune('0' + len(messages)))
	return n + " schema violations (" + strings.Join(messages, "; ") + ")"
}

// answer is what a client sees of a new entity, without what differs each time.
func answer(t *testing.T, table *schema.Table, in string) string {
	t.Helper()
	o := insert(t, table, in)
	for _, name := range []string{"id", "created_at", "updated_at"} {
		if o[name] == nil {
			t.Errorf("%s is not set", name)
		}
		o[name] = nil
	}
	return string(table.Marshal(o))
}

func TestAnswers_haveEveryFieldAndKongsDefaults(t *testing.T) {
	const head = `"id":null,"created_at":null,"updated_at":null,`
	for _, tt := range []struct{ table, in, want string }{
		{"services", `{"name":"s","host":"h","path":"/p"}`, `{` + head + `"name":"s","retries":5,"protocol":"http","host":"h","port":80,"path":"/p",` +
			`"connect_timeout":60000,"write_timeout":60000,"read_timeout":60000,"tags":null,"client_certificate":null,` +
			`"tls_verify":null,"tls_verify_depth":null,"ca_certificates":null,"enabled":true,"proxy_protocol":null,"source_addresses":null}`},
		{"routes", `{"paths":["/a"]}`, `{` + head + `"name":null,"protocols":["http","https"],"https_redirect_status_code":426,"strip_path":true,` +
			`"preserve_host":false,"request_buffering":true,"response_buffering":true,"tags":null,"service":null,"snis":null,"sources":null,` +
			`"destinations":null,"methods":null,"hosts":null,"paths":["/a"],"headers":null,"regex_priority":0,"path_handling":"v0"}`},
		{"routes", `{"paths":["/a"],"protocols":["grpc"]}`, `{` + head + `"name":null,"protocols":["grpc"],"https_redirect_status_code":426,"strip_path":false,` +
			`"preserve_host":false,"request_buffering":true,"response_buffering":true,"tags":null,"service":null,"snis":null,"sources":null,` +
			`"destinations":null,"methods":null,"hosts":null,"paths":["/a"],"headers":null,"regex_priority":0,"path_handling":"v0"}`},
		{"consumers", `{"username":"u"}`, `{` + head + `"username":"u","custom_id":null,"tags":null}`},
		{"snis", `{"name":"a.com","certificate":{"id":"` + someID + `"}}`,
			`{"id":null,"name":"a.com","created_at":null,"updated_at":null,"tags":null,"certificate":{"id":"` + someID + `"}}`},
		{"key_sets", `{"name":"k"}`, `{"id":null,"name":"k","tags":null,"created_at":null,"updated_at":null}`},
		{"vaults", `{"name":"env","prefix":"my-env","config":{"prefix":"SECRET_"}}`,
			`{"id":null,"prefix":"my-env","name":"env","description":null,"config":{"prefix":"SECRET_"},"created_at":null,"updated_at":null,"tags":null}`},
		{"targets", `{"target":"a.com","upstream":{"id":"` + someID + `"}}`,
			`{` + head + `"upstream":{"id":"` + someID + `"},"target":"a.com:8000","weight":100,"tags":null}`},
		{"plugins", `{"name":"echo"}`, `{"id":null,"name":"echo","instance_name":null,"created_at":null,"updated_at":null,"route":null,` +
			`"service":null,"consumer":null,"config":{"message":"hello","times":null},"protocols":["grpc","grpcs","http","https"],"enabled":true,"ordering":null,"tags":null}`},
		{"plugins", `{"name":"web","protocols":["http"]}`, `{"id":null,"name":"web","instance_name":null,"created_at":null,"updated_at":null,"route":null,` +
			`"service":null,"consumer":null,"config":{},"protocols":["http"],"enabled":true,"ordering":null,"tags":null}`},
		{"upstreams", `{"name":"u"}`, `{"id":null,"created_at":null,"name":"u","updated_at":null,"algorithm":"round-robin","hash_on":"none","hash_fallback":"none",` +
			`"hash_on_header":null,"hash_fallback_header":null,"hash_on_cookie":null,"hash_on_cookie_path":"/","hash_on_query_arg":null,` +
			`"hash_fallback_query_arg":null,"hash_on_uri_capture":null,"hash_fallback_uri_capture":null,"slots":10000,"healthchecks":{` +
			`"active":{"type":"http","timeout":1,"concurrency":10,"http_path":"/","https_sni":null,"https_verify_certificate":true,"headers":null,` +
			`"healthy":{"interval":0,"http_statuses":[200,302],"successes":0},` +
			`"unhealthy":{"interval":0,"http_statuses":[429,404,500,501,502,503,504,505],"tcp_failures":0,"timeouts":0,"http_failures":0}},` +
			`"passive":{"type":"http","healthy":{"http_statuses":[200,201,202,203,204,205,206,207,208,226,300,301,302,303,304,305,306,307,308],"successes":0},` +
			`"unhealthy":{"http_statuses":[429,500,503],"tcp_failures":0,"timeouts":0,"http_failures":0}},"threshold":0},` +
			`"tags":null,"host_header":null,"client_certificate":null,"use_srv_name":false}`},
	} {
		table := NewCatalog(testPlugins).Table(tt.table)
		if diff := cmp.Diff(tt.want, answer(t, table, tt.in)); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tt.table, tt.in, diff)
		}
	}
}

const someID = "6b4ae4f0-3d3c-4d8e-9a54-0cbd9c1e6a10"

// testPlugins stand for the plugins that a node has.
var testPlugins = map[string]PluginKind{
	"echo": {Config: &schema.Fields{List: []schema.Field{
		{Name: "message", Kind: schema.String, Default: "hello"},
		{Name: "times", Kind: schema.Integer, Between: []float64{1, 9}},
	}}},
	"web": {Protocols: []string{"http", "https"}, NoConsumer: true, NoRoute: true, NoService: true},
}

func TestServices_messages(t *testing.T) {
	const conditional = "failed conditional validation given value of field 'protocol'"
	testRefusals(t, "services", []refusal{
		{`{"host":"h"}`, ""},
		{`{}`, one("host: required field missing")},
		{`{"host":"h","name":"a b"}`, one("name: invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~")},
		{`{"host":"h","name":"naïve.~_-9"}`, ""},
		{`{"host":"h","name":""}`, one("name: length must be at least 1")},
		{`{"host":"original_destination","port":0}`, ""},
		{`{"url":"tls://original_destination"}`, ""},
		{`{"host":"original_destination"}`, several(
			"the port of the original destination is the one the client asked for: port must be 0", "port: value should be between 0 and 0")},
		{`{"url":"https://original_destination:443"}`, several(
			"the port of the original destination is the one the client asked for: port must be 0", "port: value should be between 0 and 0")},
		{`{"host":"h","source_addresses":["client","10.0.0.1","10.1.0.0/16","2001:db8::/64"]}`, ""},
		{`{"host":"h","source_addresses":["clients"]}`, one("source_addresses.1: expected client, an ip address or a cidr range, got 'clients'")},
		{`{"host":"a.com:80"}`, one("host: must not have a port")},
		{`{"host":"a.com:80000"}`, one("host: must not have a port")},
		{`{"host":"[::1]:80"}`, one("host: must not have a port")},
		{`{"host":"1.2.3.4"}`, ""},
		{`{"host":"::1"}`, ""},
		{`{"host":"[::1]"}`, ""},
		{`{"host":"1.2.3.400"}`, one("host: invalid value: 1.2.3.400")},
		{`{"host":"1:2:3"}`, one("host: invalid value: 1:2:3")},
		{`{"host":"a..b"}`, one("host: invalid value: a..b")},
		{`{"host":"a-.b"}`, one("host: invalid value: a-.b")},
		{`{"host":"a.b-"}`, one("host: invalid value: a.b-")},
		{`{"host":"a.b."}`, ""},
		{`{"host":"-a_b"}`, ""},
		{`{"host":"a b"}`, one("host: invalid value: a b")},
		{`{"host":"h","port":65536}`, one("port: value should be between 0 and 65535")},
		{`{"host":"h","port":0}`, ""},
		{`{"host":"h","protocol":"ftp"}`, one("protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp")},
		{`{"host":"h","protocol":"tls_passthrough"}`, ""},
		{`{"host":"h","path":"p"}`, one("path: should start with: /")},
		{`{"host":"h","path":"/a//b"}`, one("path: must not have empty segments")},
		{`{"host":"h","path":"/a b"}`, one("path: invalid path: '/a b' (characters outside of the reserved list of RFC 3986 found)")},
		{`{"host":"h","path":"/a%zz"}`, one("path: invalid url-encoded value: '%zz'")},
		{`{"host":"h","path":"/a%2"}`, one("path: invalid url-encoded value: '%2'")},
		{`{"host":"h","path":"/a%20b;c=d@e:f!g$h&i'(j)*k+l,"}`, ""},
		{`{"host":"h","retries":32768}`, one("retries: value should be between 0 and 32767")},
		{`{"host":"h","read_timeout":0}`, one("read_timeout: value should be between 1 and 2147483646")},
		{`{"host":"h","protocol":"https","tls_verify_depth":65}`, one("tls_verify_depth: value should be between 0 and 64")},
		{`{"host":"h","protocol":"tcp","path":"/p"}`, several(conditional, "path: value must be null")},
		{`{"host":"h","protocol":"grpcs","path":"/p"}`, several(conditional, "path: value must be null")},
		{`{"host":"h","client_certificate":{"id":"` + someID + `"},"tls_verify":true,"tls_verify_depth":1,"ca_certificates":["` + someID + `"]}`,
			several(conditional, conditional, conditional, conditional, "ca_certificates: value must be null",
				"client_certificate: value must be null", "tls_verify: value must be null", "tls_verify_depth: value must be null")},
		{`{"host":"h","protocol":"tls","client_certificate":{"id":"` + someID + `"},"tls_verify":true,"tls_verify_depth":1,"ca_certificates":["` + someID + `"]}`, ""},
		{`{"host":"h","protocol":"https","ca_certificates":["x"]}`, one("ca_certificates.1: expected a valid UUID")},
		{`{"host":"h","tags":["a/b"]}`, one("tags.1: invalid tag 'a/b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences")},
		{`{"host":"h","tags":["ok and fine","é","a,b"]}`, one("tags.3: invalid tag 'a,b': expected printable ascii (except `,` and `/`) or valid utf-8 sequences")},
		{`{"host":"h","tags":[""]}`, one("tags.1: length must be at least 1")},
		{`{"host":"h","url":5}`, one("url: expected a string")},
		{`{"host":"h","expression":"x"}`, one("expression: unknown field")},
	})
}

func TestNames_mustBeUTF8(t *testing.T) {
	_, err := NewCatalog(nil).Table("services").Process(schema.Insert, schema.Object{"host": "h", "name": "ab\xffc"}, nil, nil)
	if want := one("name: invalid utf-8 character sequence detected at position 3"); err == nil || err.Message != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestServices_url(t *testing.T) {
	table := NewCatalog(nil).Table("services")
	for _, tt := range []struct{ in, want string }{
		{`{"url":"http://h"}`, `["http","h",80,null]`},
		{`{"url":"https://h/p/q"}`, `["https","h",443,"/p/q"]`},
		{`{"url":"https://h:8443/"}`, `["https","h",8443,"/"]`},
		{`{"url":"grpc://h"}`, `["grpc","h",80,null]`},
		{`{"url":"//h:443"}`, `["https","h",443,null]`},
		{`{"url":"//h:80"}`, `["http","h",80,null]`},
		{`{"url":"//h"}`, `["http","h",80,null]`},
		{`{"url":"http://user:pass@h:81/p?q=1#f"}`, `["http","h",81,"/p"]`},
		{`{"url":"http://[::1]:81/p"}`, `["http","::1",81,"/p"]`},
		{`{"url":"http://h/p","host":"other","path":"/other","port":1,"protocol":"https"}`, `["http","h",80,"/p"]`},
		{`{"url":"http://h","path":"/other"}`, `["http","h",80,null]`},
		{`{"url":null,"host":"h"}`, `["http","h",80,null]`},
	} {
		o := insert(t, table, tt.in)
		got, _ := json.Marshal([]any{o["protocol"], o["host"], o["port"], o["path"]})
		if string(got) != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
		if _, ok := o["url"]; ok {
			t.Errorf("%s: the url is still there", tt.in)
		}
	}
	testRefusals(t, "services", []refusal{
		{`{"url":"h/p"}`, several("host: required field missing", "path: should start with: /")},
		{`{"url":"/p"}`, one("host: required field missing")},
		{`{"url":"ftp://h"}`, one("protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp")},
		{`{"url":"http://h:x"}`, one("port: expected an integer")},
		{`{"url":"http://h:99999"}`, one("port: value should be between 0 and 65535")},
		{`{"url":"http://a b/"}`, one("host: invalid value: a b")},
		{`{"url":"tcp://h/p"}`, several("failed conditional validation given value of field 'protocol'", "path: value must be null")},
	})
}

func TestUpstreams_originalDestinationIsNone(t *testing.T) {
	testRefusals(t, "upstreams", []refusal{
		{`{"name":"original_destination"}`, one("name: Invalid name ('original_destination'); it stands for the destination of intercepted connections")},
		{`{"name":"original-destination"}`, ""},
	})
}

func TestRoutes_messages(t *testing.T) {
	const needHTTPS = "must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https'"
	const snisOnly = "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or 'tls_passthrough'"
	const stream = " when 'protocols' is 'tcp', 'tls', 'tls_passthrough' or 'udp'"
	const needTCP = "must set one of 'sources', 'destinations', 'snis' when 'protocols' is 'tcp', 'tls' or 'udp'"
	testRefusals(t, "routes", []refusal{
		{`{"paths":["/"]}`, ""},
		{`{}`, one(needHTTPS)},
		{`{"paths":[]}`, one(needHTTPS)},
		{`{"protocols":["http"]}`, one("must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'")},
		{`{"protocols":["https","http"]}`, one(needHTTPS)},
		{`{"protocols":["https"],"snis":["a.com"]}`, ""},
		{`{"protocols":["http"],"snis":["a.com"]}`, several(snisOnly,
			"must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http'", "snis: length must be 0")},
		{`{"protocols":["http"],"sources":[{"ip":"10.0.0.0/8"}]}`, ""}, // beyond Kong
		{`{"protocols":["https"],"destinations":[{"port":80}]}`, ""},
		{`{"protocols":["grpc"],"sources":[{"ip":"::/0"}]}`, ""},
		{`{"protocols":["grpc"]}`, one("must set one of 'hosts', 'headers', 'paths' when 'protocols' is 'grpc'")},
		{`{"protocols":["grpc","grpcs"]}`, one("must set one of 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'grpcs'")},
		{`{"protocols":["grpc"],"paths":["/"],"strip_path":true}`, one("strip_path: cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'")},
		{`{"protocols":["grpc"],"paths":["/"],"methods":["GET"]}`, one("methods: cannot set 'methods' when 'protocols' is 'grpc' or 'grpcs'")},
		{`{"protocols":["tcp"]}`, one(needTCP)},
		{`{"protocols":["udp"],"destinations":[{"ip":"1.2.3.4","port":53}]}`, ""},
		{`{"protocols":["tls"],"snis":["a.com"]}`, ""},
		{`{"protocols":["tcp"],"paths":["/"],"hosts":["a"],"methods":["GET"],"headers":{"x":["y"]}}`, several(needTCP,
			"headers: cannot set 'headers'"+stream, "hosts: cannot set 'hosts'"+stream,
			"methods: cannot set 'methods'"+stream, "paths: cannot set 'paths'"+stream)},
		{`{"protocols":["tls_passthrough"]}`, one("must set snis when 'protocols' is 'tls_passthrough'")},
		{`{"protocols":["tls_passthrough"],"snis":["*.a.com"]}`, ""},
		{`{"paths":["/"],"protocols":[]}`, one("protocols: unknown type: nil")},
		{`{"paths":["/"],"protocols":["ftp"]}`, one("protocols: unknown type: ftp")},
		{`{"paths":["/"],"protocols":["http","ftp"]}`, one("protocols.2: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp")},
		{`{"paths":["/"],"protocols":["http","tcp"]}`, one("protocols: these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp')")},
		{`{"paths":["/"],"protocols":["grpc","tls_passthrough"]}`,
			one("protocols: these sets are mutually exclusive: ('grpc', 'grpcs'), ('tls_passthrough')")},
		{`{"paths":["/"],"protocols":"http"}`, one("protocols: expected a set")},
		{`{"paths":["/"],"https_redirect_status_code":303}`, one("https_redirect_status_code: expected one of: 426, 301, 302, 307, 308")},
		{`{"paths":["/"],"path_handling":"v2"}`, one("path_handling: expected one of: v0, v1")},
		{`{"methods":["get"]}`, one("methods.1: invalid value: get")},
		{`{"methods":["PURGE"]}`, ""},
		{`{"hosts":["a.com","*.b.com","c.*","d.com:8080","*.e:1"]}`, ""},
		{`{"hosts":["*.*"]}`, one("hosts.1: invalid wildcard: must have at most one wildcard")},
		{`{"hosts":["a.*.b"]}`, one("hosts.1: invalid wildcard: must be placed at leftmost or rightmost label")},
		{`{"hosts":["a*"]}`, one("hosts.1: invalid wildcard: must be placed at leftmost or rightmost label")},
		{`{"hosts":["a b"]}`, one("hosts.1: invalid hostname: a b")},
		{`{"hosts":["a:99999"]}`, one("hosts.1: invalid port number")},
		{`{"hosts":[""]}`, one("hosts.1: length must be at least 1")},
		{`{"paths":["a"]}`, one("paths.1: should start with: / (fixed path) or ~/ (regex path)")},
		{`{"paths":["~a"]}`, one("paths.1: should start with: / (fixed path) or ~/ (regex path)")},
		{`{"paths":["/a//b"]}`, one("paths.1: must not have empty segments")},
		{`{"paths":["/a/../b"]}`, one("paths.1: non-normalized path, consider use '/b' instead")},
		{`{"paths":["/%61"]}`, one("paths.1: non-normalized path, consider use '/a' instead")},
		{`{"paths":["/a%2fb"]}`, one("paths.1: non-normalized path, consider use '/a%2Fb' instead")},
		{`{"paths":["/a%zz"]}`, one("paths.1: invalid url-encoded value: '%zz'")},
		{`{"paths":["/a b\"<é"]}`, ""},
		{`{"paths":["~/a(?<name>\\d+)$"]}`, ""},
		{`{"paths":["~/a("]}`, one("paths.1: invalid regex: '/a(' (PCRE returned: missing closing ): `/a(`)")},
		{`{"paths":["~/a(?!b)"]}`, one("paths.1: invalid regex: '/a(?!b)' (PCRE returned: invalid or unsupported Perl syntax: `(?!`)")},
		{`{"headers":{"x-a":["b"]}}`, ""},
		{`{"headers":{"Host":["b"]}}`, one("headers: cannot contain 'host' header, which must be specified in the 'hosts' attribute")},
		{`{"headers":{"a b":["b"]}}`, one("headers: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'")},
		{`{"headers":{"a":"b"}}`, one("headers: expected an array")},
		{`{"headers":{"a":["~*("]}}`, one("Router Expression failed validation: missing closing ): `(`")},
		{`{"snis":["a.com","*.b.com","c.*","d.com."]}`, ""},
		{`{"snis":["a*b"]}`, one("snis.1: wildcard must be leftmost or rightmost character")},
		{`{"snis":["*a*"]}`, one("snis.1: only one wildcard must be specified")},
		{`{"snis":["1.2.3.4"]}`, one("snis.1: must not be an IP")},
		{`{"snis":["a.com:443"]}`, one("snis.1: must not have a port")},
		{`{"snis":["a b"]}`, one("snis.1: invalid value: a b")},
		{`{"protocols":["tcp"],"sources":[{}]}`, one("sources.1: {\n  [\"@entity\"] = {\n    \"at least one of these fields must be non-empty: 'ip', 'port'\"\n  }\n}")},
		{`{"protocols":["tcp"],"sources":[{"ip":"1.2.3.0/33"}]}`, one("sources.1: {\n  ip = \"invalid ip or cidr range: '1.2.3.0/33'\"\n}")},
		{`{"protocols":["tcp"],"sources":[{"port":70000}]}`, one("sources.1: {\n  port = \"value should be between 0 and 65535\"\n}")},
		{`{"paths":["/"],"service":{"id":"x"}}`, one("service.id: expected a valid UUID")},
	})
}

func TestConsumers_messages(t *testing.T) {
	const need = "at least one of these fields must be non-empty: 'custom_id', 'username'"
	testRefusals(t, "consumers", []refusal{
		{`{"username":"any thing/at:all"}`, ""},
		{`{"custom_id":"1"}`, ""},
		{`{}`, one(need)},
		{`{"username":""}`, several(need, "username: length must be at least 1")},
	})
	table := NewCatalog(nil).Table("consumers")
	_, err := table.Process(schema.Update, schema.Object{"username": nil}, insert(t, table, `{"username":"u"}`), nil)
	if err == nil || err.Message != one("when updating, "+need) {
		t.Errorf("got %v", err)
	}
}

func TestUpstreams_messages(t *testing.T) {
	on := func(field string) string { return "failed conditional validation given value of field '" + field + "'" }
	testRefusals(t, "upstreams", []refusal{
		{`{"name":"u.internal"}`, ""},
		{`{}`, one("name: required field missing")},
		{`{"name":"1.2.3.4"}`, one("name: Invalid name ('1.2.3.4'); no ip addresses allowed")},
		{`{"name":"a b"}`, one("name: Invalid name ('a b'); must be a valid hostname")},
		{`{"name":"a:80"}`, one("name: Invalid name ('a:80'); no port allowed")},
		{`{"name":"u","algorithm":"random"}`, one("algorithm: expected one of: consistent-hashing, least-connections, round-robin, latency")},
		{`{"name":"u","hash_on":"x"}`, one("hash_on: expected one of: none, consumer, ip, header, cookie, path, query_arg, uri_capture")},
		{`{"name":"u","slots":9}`, one("slots: value should be between 10 and 65536")},
		{`{"name":"u","hash_on":"header"}`, several(on("hash_on"), "hash_on_header: required field missing")},
		{`{"name":"u","hash_on":"header","hash_on_header":"a b"}`,
			several(on("hash_on"), "hash_on_header: bad header name 'a b', allowed characters are A-Z, a-z, 0-9, '_', and '-'")},
		{`{"name":"u","hash_on":"header","hash_on_header":"a","hash_fallback":"header"}`, several(on("hash_fallback"), "hash_fallback_header: required field missing")},
		{`{"name":"u","hash_on":"header","hash_on_header":"a","hash_fallback":"header","hash_fallback_header":"a"}`,
			one("values of these fields must be distinct: 'hash_on_header', 'hash_fallback_header'")},
		{`{"name":"u","hash_on":"cookie"}`, several(on("hash_on"), "hash_on_cookie: required field missing")},
		{`{"name":"u","hash_on":"ip","hash_fallback":"cookie"}`, several(on("hash_fallback"), "hash_on_cookie: required field missing")},
		{`{"name":"u","hash_on":"cookie","hash_on_cookie":"c","hash_fallback":"ip"}`, several(on("hash_on"), "hash_fallback: expected one of: none")},
		{`{"name":"u","hash_fallback":"ip"}`, several(on("hash_on"), "hash_fallback: expected one of: none")},
		{`{"name":"u","hash_on":"ip","hash_fallback":"ip"}`,
			several(on("hash_on"), "hash_fallback: expected one of: none, consumer, header, cookie, path, query_arg, uri_capture")},
		{`{"name":"u","hash_on":"consumer","hash_fallback":"consumer"}`,
			several(on("hash_on"), "hash_fallback: expected one of: none, ip, header, cookie, path, query_arg, uri_capture")},
		{`{"name":"u","hash_on":"path","hash_fallback":"path"}`,
			several(on("hash_on"), "hash_fallback: expected one of: none, consumer, header, cookie, query_arg, ip, uri_capture")},
		{`{"name":"u","hash_on":"query_arg"}`, several(on("hash_on"), "hash_on_query_arg: required field missing")},
		{`{"name":"u","hash_on":"ip","hash_fallback":"query_arg"}`, several(on("hash_fallback"), "hash_fallback_query_arg: required field missing")},
		{`{"name":"u","hash_on":"query_arg","hash_on_query_arg":"a","hash_fallback":"query_arg","hash_fallback_query_arg":"a"}`,
			one("values of these fields must be distinct: 'hash_on_query_arg', 'hash_fallback_query_arg'")},
		{`{"name":"u","hash_on":"uri_capture"}`, several(on("hash_on"), "hash_on_uri_capture: required field missing")},
		{`{"name":"u","hash_on":"uri_capture","hash_on_uri_capture":"a","hash_fallback":"uri_capture","hash_fallback_uri_capture":"a"}`,
			one("values of these fields must be distinct: 'hash_on_uri_capture', 'hash_fallback_uri_capture'")},
		{`{"name":"u","hash_on_query_arg":""}`, one("hash_on_query_arg: length must be at least 1")},
		{`{"name":"u","hash_on_cookie":"a=b"}`, one("hash_on_cookie: contains one or more invalid characters. ASCII control characters (0-31;127), " +
			`space, tab and the characters ()<>@,;:\"/?={}[] are not allowed.`)},
		{`{"name":"u","hash_on_cookie_path":"x"}`, one("hash_on_cookie_path: should start with: /")},
		{`{"name":"u","host_header":"a.com:80"}`, ""},
		{`{"name":"u","host_header":"a b"}`, one("host_header: invalid hostname: a b")},
		{`{"name":"u","healthchecks":{"threshold":101}}`, one("healthchecks.threshold: value should be between 0 and 100")},
		{`{"name":"u","healthchecks":{"active":{"concurrency":0,"healthy":{"http_statuses":[99]}}}}`,
			one("healthchecks.active: {\n  concurrency = \"value should be between 1 and 2147483648\",\n  healthy = {\n    http_statuses = {\n      \"value should be between 100 and 999\"\n    }\n  }\n}")},
		{`{"name":"u","healthchecks":{"active":{"type":"udp"}}}`, one("healthchecks.active: {\n  type = \"expected one of: tcp, http, https, grpc, grpcs\"\n}")},
		{`{"name":"u","healthchecks":{"passive":{"foo":1}}}`, one("healthchecks.passive: {\n  foo = \"unknown field\"\n}")},
		{`{"name":"u","healthchecks":null}`, one("healthchecks: required field missing")},
	})
}

func TestUpstreams_algorithmAndHashOnFollowEachOther(t *testing.T) {
	table := NewCatalog(nil).Table("upstreams")
	hashed := insert(t, table, `{"name":"u","hash_on":"header","hash_on_header":"h"}`)
	for _, tt := range []struct {
		current       schema.Object
		in            string
		algorithm, on string
	}{
		{nil, `{"name":"u"}`, "round-robin", "none"},
		{nil, `{"name":"u","hash_on":"ip"}`, "consistent-hashing", "ip"},
		{nil, `{"name":"u","hash_on":"ip","algorithm":"round-robin"}`, "consistent-hashing", "ip"},
		{nil, `{"name":"u","hash_on":"none","algorithm":"consistent-hashing"}`, "round-robin", "none"},
		{nil, `{"name":"u","hash_on":null}`, "round-robin", "none"},
		{nil, `{"name":"u","algorithm":"least-connections"}`, "least-connections", "none"},
		{nil, `{"name":"u","algorithm":"latency","hash_on":"ip"}`, "latency", "none"},
		{hashed, `{"slots":100}`, "consistent-hashing", "header"},
		{hashed, `{"algorithm":"least-connections"}`, "least-connections", "none"},
		{hashed, `{"hash_on":"none"}`, "round-robin", "none"},
		{hashed, `{"algorithm":"round-robin"}`, "round-robin", "header"},
	} {
		op := schema.Insert
		if tt.current != nil {
			op = schema.Update
		}
		o, err := table.Process(op, parse(t, tt.in), tt.current, nil)
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if o["algorithm"] != tt.algorithm || o["hash_on"] != tt.on {
			t.Errorf("%s: got %v, %v; want %s, %s", tt.in, o["algorithm"], o["hash_on"], tt.algorithm, tt.on)
		}
	}
}

func TestTargets(t *testing.T) {
	const up = `"upstream":{"id":"` + someID + `"}`
	testRefusals(t, "targets", []refusal{
		{`{"target":"a"}`, one("upstream: required field missing")},
		{`{` + up + `}`, one("target: required field missing")},
		{`{` + up + `,"target":"a b"}`, one("target: Invalid target ('a b'); not a valid hostname or ip address")},
		{`{` + up + `,"target":"1.2.3.256"}`, one("target: Invalid target ('1.2.3.256'); not a valid hostname or ip address")},
		{`{` + up + `,"target":"a:99999"}`, one("target: Invalid target ('a:99999'); not a valid hostname or ip address")},
		{`{` + up + `,"target":"a","weight":65536}`, one("weight: value should be between 0 and 65535")},
	})
	table := NewCatalog(nil).Table("targets")
	for in, want := range map[string]string{
		"a.com": "a.com:8000", "a.com:80": "a.com:80", "001.002.003.004": "1.2.3.4:8000", "1.2.3.4:0080": "1.2.3.4:80",
		"::1":         "[0000:0000:0000:0000:0000:0000:0000:0001]:8000",
		"[::1]":       "[0000:0000:0000:0000:0000:0000:0000:0001]:8000",
		"[FE80::]:81": "[fe80:0000:0000:0000:0000:0000:0000:0000]:81",
	} {
		if got := insert(t, table, `{`+up+`,"target":"`+in+`"}`)["target"]; got != want {
			t.Errorf("%s became %v, want %s", in, got, want)
		}
	}
	o, err := table.Process(schema.Insert, parse(t, `{`+up+`,"target":"a"}`), nil, &schema.Env{Now: 1711.1234})
	if err != nil || o["created_at"] != 1711.123 {
		t.Errorf("created_at is %v, want seconds with milliseconds (%v)", o["created_at"], err)
	}
}

func TestPlugins_messages(t *testing.T) {
	testRefusals(t, "plugins", []refusal{
		{`{"name":"echo","config":{"times":3}}`, ""},
		{`{}`, one("name: required field missing")},
		{`{"name":"nope"}`, one("name: plugin 'nope' not enabled; add it to the 'plugins' configuration property")},
		{`{"name":"echo","config":{"times":10,"foo":1}}`, several("config.foo: unknown field", "config.times: value should be between 1 and 9")},
		{`{"name":"echo","config":[1]}`, one("config: expected a record")},
		{`{"name":"echo","instance_name":"a b"}`,
			one("instance_name: invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~")},
		{`{"name":"echo","protocols":["tcp"]}`, ""},
		{`{"name":"web","protocols":["tcp"]}`, one("protocols.1: expected one of: http, https")},
		{`{"name":"web","consumer":{"id":"` + someID + `"},"route":{"id":"` + someID + `"},"service":{"id":"` + someID + `"}}`,
			several("consumer: value must be null", "route: value must be null", "service: value must be null")},
		{`{"name":"echo","ordering":{"before":{"log":["x"]}}}`, one("ordering.before: {\n  log = \"unknown field\"\n}")},
	})
}

func TestVaultsAndSNIs_messages(t *testing.T) {
	testRefusals(t, "vaults", []refusal{
		{`{"name":"env","prefix":"my-env1"}`, ""},
		{`{"prefix":"my-env"}`, one("name: required field missing")},
		{`{"name":"hcv","prefix":"my-env"}`, one("name: vault 'hcv' is not installed")},
		{`{"name":"env"}`, one("prefix: required field missing")},
		{`{"name":"env","prefix":"env"}`, one("prefix: must not be one of: env")},
		{`{"name":"env","prefix":"a"}`, one("prefix: invalid value: a")},
		{`{"name":"env","prefix":"a-"}`, one("prefix: invalid value: a-")},
		{`{"name":"env","prefix":"1a"}`, one("prefix: invalid value: 1a")},
		{`{"name":"env","prefix":"Ab"}`, one("prefix: invalid value: Ab")},
		{`{"name":"env","prefix":"ab","config":{"prefix":"1"}}`, one("config.prefix: invalid value: 1")},
	})
	testRefusals(t, "snis", []refusal{
		{`{"name":"*","certificate":{"id":"` + someID + `"}}`, ""},
		{`{"name":"*.a.com"}`, one("certificate: required field missing")},
		{`{"certificate":{"id":"` + someID + `"}}`, one("name: required field missing")},
		{`{"name":"1.2.3.4","certificate":{"id":"` + someID + `"}}`, one("name: must not be an IP")},
		{`{"name":"a.*.com","certificate":{"id":"` + someID + `"}}`, one("name: wildcard must be leftmost or rightmost character")},
	})
}
