package memory

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/google/go-cmp/cmp"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// catalog has a plugin whose settings are known.
func catalog() *entity.Catalog {
	return entity.NewCatalog(map[string]entity.PluginKind{
		"rate-limiting": {Config: &schema.Fields{List: []schema.Field{
			{Name: "minute", Kind: schema.Number},
			{Name: "policy", Kind: schema.String, OneOf: schema.Values("local", "redis"), Default: "local"},
			{Name: "redis", Kind: schema.Record, Fields: &schema.Fields{List: []schema.Field{
				{Name: "host", Kind: schema.String},
				{Name: "port", Kind: schema.Integer},
			}}},
		}}},
	})
}

func parse(text string) (*Store, error) {
	s := new(Store)
	return s, s.unmarshal(caddyfile.NewTestDispenser(text), catalog())
}

func TestCaddyfile(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing", `memory`, `{}`},
		{"empty block", "memory {\n}", `{}`},
		{"file", `memory ./kong.yml`, `{"file": "./kong.yml"}`},
		{"service and route", `memory {
			service orders http://10.0.0.5:8080 {
				route /orders /carts {
					hosts api.example.com
					methods GET POST
					strip_path off
				}
				plugin rate-limiting {
					minute 100
				}
			}
		}`, `{"config": {"_format_version": "3.0", "services": [{"name": "orders", "url": "http://10.0.0.5:8080",
			"routes": [{"paths": ["/orders", "/carts"], "hosts": ["api.example.com"], "methods": ["GET", "POST"], "strip_path": false}],
			"plugins": [{"name": "rate-limiting", "config": {"minute": 100}}]}]}}`},
		{"names and references", `memory {
			service a {
				host example.com
				port 81
				enabled false
				tags x y
				tags z
			}
			route r ~/v\d+$ /b {
				service a
				headers {
					x-version 1 2
					x-env prod
				}
				headers x-more 3
			}
			consumer bob {
				custom_id 007
			}
			plugin rate-limiting {
				consumer bob
				protocols http
			}
		}`, `{"config": {"_format_version": "3.0",
			"services": [{"name": "a", "host": "example.com", "port": 81, "enabled": false, "tags": ["x", "y", "z"]}],
			"routes": [{"name": "r", "paths": ["~/v\\d+$", "/b"], "service": "a",
				"headers": {"x-version": ["1", "2"], "x-env": ["prod"], "x-more": ["3"]}}],
			"consumers": [{"username": "bob", "custom_id": "007"}],
			"plugins": [{"name": "rate-limiting", "consumer": "bob", "protocols": ["http"]}]}}`},
		{"upstream", `memory {
			upstream pool {
				target 10.0.0.1:80
				target 10.0.0.2:80 50
				healthchecks {
					threshold 12.5
					active {
						type https
						healthy {
							interval 5
							http_statuses 200 204
						}
						headers {
							x-probe yes
						}
					}
				}
			}
		}`, `{"config": {"_format_version": "3.0", "upstreams": [{"name": "pool",
			"targets": [{"target": "10.0.0.1:80"}, {"target": "10.0.0.2:80", "weight": 50}],
			"healthchecks": {"threshold": 12.5, "active": {"type": "https", "healthy": {"interval": 5, "http_statuses": [200, 204]},
				"headers": {"x-probe": ["yes"]}}}}]}}`},
		{"lists of records", `memory {
			route {
				protocols tcp
				sources {
					ip 10.0.0.0/8
					port 80
				}
				sources {
					port 81
				}
			}
		}`, `{"config": {"_format_version": "3.0", "routes": [{"protocols": ["tcp"],
			"sources": [{"ip": "10.0.0.0/8", "port": 80}, {"port": 81}]}]}}`},
		{"settings of a plugin", `memory {
			plugin rate-limiting {
				instance_name here
				policy redis
				redis {
					host r.example.com
				}
				config {
					minute 1.5
					redis {
						port 6379
					}
				}
			}
		}`, `{"config": {"_format_version": "3.0", "plugins": [{"name": "rate-limiting", "instance_name": "here",
			"config": {"policy": "redis", "minute": 1.5, "redis": {"host": "r.example.com", "port": 6379}}}]}}`},
		{"plugin that this build does not know", `memory {
			plugin other {
				enabled off
				a on
				b 1 -2.5 x
				c {
					d off
					e 007 NaN
				}
				config {
					f word
				}
			}
		}`, `{"config": {"_format_version": "3.0", "plugins": [{"name": "other", "enabled": false,
			"config": {"a": true, "b": [1, -2.5, "x"], "c": {"d": false, "e": ["007", "NaN"]}, "f": "word"}}]}}`},
		{"vault and keys", `memory {
			vault my-env env {
				config {
					prefix KONG_
				}
			}
			key_set all {
				key one {
					kid 1
					pem {
						public_key {vault://my-env/key}
					}
				}
			}
		}`, `{"config": {"_format_version": "3.0", "vaults": [{"prefix": "my-env", "name": "env", "config": {"prefix": "KONG_"}}],
			"key_sets": [{"name": "all", "keys": [{"name": "one", "kid": "1", "pem": {"public_key": "{vault://my-env/key}"}}]}]}}`},
		{"plugin twice", `memory {
			plugin rate-limiting
			plugin other
		}`, `{"config": {"_format_version": "3.0", "plugins": [{"name": "rate-limiting"}, {"name": "other"}]}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parse(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			if want, got := plain(t, tt.want), plain(t, string(got)); !cmp.Equal(want, got) {
				t.Errorf("(-want +got):\n%s", cmp.Diff(want, got))
			}
		})
	}
}

func plain(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// TestCaddyfile_fileHash: Caddy must see a change of the file as a change of
// the configuration.
func TestCaddyfile_fileHash(t *testing.T) {
	t.Setenv("KONG_DIR", filepath.Dir(kongFile(t, yaml)))
	read := func() (s Store) {
		t.Helper()
		if err := s.UnmarshalCaddyfile(caddyfile.NewTestDispenser("memory {env.KONG_DIR}/kong.yml")); err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := read()
	if first.FileHash == "" || first.File != "{env.KONG_DIR}/kong.yml" {
		t.Errorf("file %q, hash %q", first.File, first.FileHash)
	}
	if err := os.WriteFile(filepath.Join(os.Getenv("KONG_DIR"), "kong.yml"), []byte(yaml+"# changed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read(); got.FileHash == first.FileHash {
		t.Errorf("the file changed, its hash did not: %s", got.FileHash)
	}
}

func TestCaddyfile_errors(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"two files", `memory a b`, `unexpected argument "b": memory takes one declarative file, or a block of entities, at Testfile:1`},
		{"empty file", `memory ""`, `the path of the declarative file is empty, at Testfile:1`},
		{"file and block", "memory a {\n\tservice b http://c\n}", `memory takes a declarative file or a block of entities, not both, at Testfile:3`},
		{"unknown entity", "memory {\n\tservices a\n}",
			`unrecognized option "services" in memory; expected one of: ca_certificate, certificate, consumer, key, key_set, plugin, route, service, sni, target, upstream, vault, at Testfile:2`},
		{"unknown field", "memory {\n\tkey_set a {\n\t\tnames a\n\t}\n}",
			`unrecognized option "names" in key_set; expected a field or an entity that belongs to it: created_at, id, key, name, tags, updated_at, at Testfile:3`},
		{"virtual field", "memory {\n\tcertificate {\n\t\tsnis a.com\n\t}\n}", `unrecognized option "snis" in certificate; expected a field or an entity that belongs to it: cert, cert_alt,`},
		{"unknown field of a record", "memory {\n\tupstream a {\n\t\thealthchecks {\n\t\t\tpasive {\n\t\t\t}\n\t\t}\n\t}\n}",
			`unrecognized option "pasive" in healthchecks; expected one of: active, passive, threshold, at Testfile:4`},
		{"unknown setting of a plugin", "memory {\n\tplugin rate-limiting {\n\t\tminutes 1\n\t}\n}",
			`unrecognized option "minutes" in plugin; expected a field of it or of its config: config, consumer, created_at, enabled, id, instance_name, minute, name, ordering, policy, protocols, redis, route, service, tags, updated_at, at Testfile:3`},
		{"too many arguments", "memory {\n\tservice a http://b c\n}", `unexpected argument "c": service takes [<name>] [<url>], at Testfile:2`},
		{"no arguments at all", "memory {\n\tcertificate a\n}", `unexpected argument "a": certificate takes no arguments, at Testfile:2`},
		{"two names of a route", "memory {\n\troute a b\n}", `unexpected argument "b": route takes [<name>] [<paths...>], each path beginning with / or ~/, at Testfile:2`},
		{"name behind the paths", "memory {\n\troute /a b\n}", `unexpected argument "b": route takes`},
		{"boolean", "memory {\n\troute /a {\n\t\tstrip_path no\n\t}\n}", `strip_path: expected on or off, not "no", at Testfile:3`},
		{"integer", "memory {\n\tservice a http://b {\n\t\tretries 1.5\n\t}\n}", `retries: expected an integer, not "1.5", at Testfile:3`},
		{"integer argument", "memory {\n\tupstream u {\n\t\ttarget a:80 heavy\n\t}\n}", `weight: expected an integer, not "heavy", at Testfile:3`},
		{"number", "memory {\n\tplugin rate-limiting {\n\t\tminute inf\n\t}\n}", `minute: expected a number, not "inf", at Testfile:3`},
		{"no value", "memory {\n\troute /a {\n\t\thosts\n\t}\n}", `hosts: expected a value, at Testfile:3`},
		{"two values", "memory {\n\tservice a http://b {\n\t\tretries 1 2\n\t}\n}",
			`retries takes one value, not 2: 1 2; if they belong to other options, put each on a line of its own, at Testfile:3`},
		{"twice", "memory {\n\tservice a http://b {\n\t\tname c\n\t}\n}", `name is set already, at Testfile:3`},
		{"block behind a value", "memory {\n\tservice a http://b {\n\t\tretries 1 {\n\t\t\tx\n\t\t}\n\t}\n}", `retries takes no block, at Testfile:4`},
		{"value before a record", "memory {\n\tupstream a {\n\t\thealthchecks on {\n\t\t}\n\t}\n}",
			`unexpected argument "on": healthchecks takes a block of fields: active, passive, threshold, at Testfile:3`},
		{"empty map", "memory {\n\troute /a {\n\t\theaders\n\t}\n}", `headers: expected a key and its values, or a block of such lines, at Testfile:3`},
		{"block in one line", "memory {\n\troute /a { strip_path off }\n}", `a closing brace stands on a line of its own, as does each option, at Testfile:2`},
		{"entity in one line", "memory {\n\tupstream u { target a:80 }\n}", `a closing brace stands on a line of its own, as does each option, at Testfile:2`},
		{"unknown setting without a value", "memory {\n\tplugin other {\n\t\tx\n\t}\n}", `x: expected a value or a block, at Testfile:3`},
		{"refused value", "memory {\n\tservice a {\n\t\thost b\n\t\tprotocol ftp\n\t}\n}",
			`service: protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp, at Testfile:4`},
		{"refused argument", "memory {\n\tupstream 1.2.3.4\n}", `upstream: name: Invalid name ('1.2.3.4'); no ip addresses allowed, at Testfile:2`},
		{"refused element", "memory {\n\troute /a {\n\t\tmethods GET post\n\t}\n}", `route: methods[1]: invalid value: post, at Testfile:3`},
		{"refused in a record", "memory {\n\tupstream a {\n\t\thealthchecks {\n\t\t\tthreshold 101\n\t\t}\n\t}\n}",
			`upstream: healthchecks.threshold: value should be between 0 and 100, at Testfile:3`},
		{"missing field", "memory {\n\n\tservice a {\n\t\tport 1\n\t}\n}", `service: host: required field missing, at Testfile:3`},
		{"missing parent", "memory {\n\ttarget a:80\n}", `target: upstream: required field missing, at Testfile:2`},
		{"relation between fields", "memory {\n\troute a\n}",
			`route: must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when 'protocols' is 'https', at Testfile:2`},
		{"first of several", "memory {\n\tservice a {\n\t\tretries -1\n\t\tport -1\n\t\tprotocol ftp\n\t}\n}", `service: host: required field missing, at Testfile:2`},
		{"setting of a plugin", "memory {\n\tplugin rate-limiting {\n\t\tminute 1\n\t\tenabled on\n\t\tpolicy cluster\n\t}\n}", `plugin: config.policy: expected one of: local, redis, at Testfile:5`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.in)
			if err == nil {
				t.Fatalf("no error, want %q", tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got  %s\nwant %s", err, tt.want)
			}
		})
	}
}

func FuzzCaddyfile(f *testing.F) {
	for _, text := range []string{
		"memory {\n service a http://b {\n route /x {\n hosts a b\n }\n }\n}",
		"memory {\n plugin x {\n a {\n b 1 2\n }\n }\n}",
		"memory {\n upstream u {\n healthchecks {\n active {\n headers a b\n }\n }\n target a:1 }\n}",
		"memory {\n plugin rate-limiting {\n redis {\n port 1\n }\n config {\n }\n }\n}",
		"memory {\n certificate {\n sni a\n cert <<X\n a\n X\n }\n vault a env {\n config {\n }\n }\n}",
	} {
		f.Add(text)
	}
	c := catalog()
	f.Fuzz(func(t *testing.T, text string) {
		tokens, err := caddyfile.Tokenize([]byte(text), "Testfile")
		if err != nil {
			return
		}
		s := new(Store)
		if err := s.unmarshal(caddyfile.NewDispenser(tokens), c); err == nil && s.Config != nil && !json.Valid(s.Config) {
			t.Errorf("not JSON: %s", s.Config)
		}
	})
}
