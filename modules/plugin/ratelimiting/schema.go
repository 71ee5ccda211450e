package ratelimiting

import (
	"fmt"

	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

// Describe answers Kong's schema (kong/plugins/rate-limiting/schema.lua and
// kong/tools/redis/schema.lua). What is there of sentinels and clusters has the
// names of Kong's other edition.
func (*Plugin) Describe() entity.PluginKind {
	fields := make([]schema.Field, 0, 16)
	var paths []string
	for _, name := range names {
		fields = append(fields, schema.Field{Name: name, Kind: schema.Number, Rules: []schema.Rule{schema.GreaterThan(0)},
			Doc: "The number of HTTP requests that can be made per " + name + "."})
		paths = append(paths, "config."+name)
	}
	flag := func(name string, value bool, doc string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Boolean, Required: true, Default: value, Doc: doc}
	}
	fields = append(fields,
		schema.Field{Name: "limit_by", Kind: schema.String, Default: "consumer",
			OneOf: schema.Values("consumer", "credential", "ip", "service", "header", "path"),
			Doc:   "The entity that is used when aggregating the limits."},
		entity.HeaderName("header_name"),
		entity.Path("path"),
		schema.Field{Name: "policy", Kind: schema.String, Default: "local", LenMin: new(int),
			OneOf: schema.Values("local", "cluster", "redis"), Doc: "Where requests are counted."},
		flag("fault_tolerant", true, "Whether requests pass, uncounted, while the store of the counters fails. Otherwise they are answered with 500."),
		schema.Field{Name: "redis", Kind: schema.Record, Fields: redisFields(), Doc: "The Redis server."},
		flag("hide_client_headers", false, "Whether the headers about limits are left out."),
		schema.Field{Name: "error_code", Kind: schema.Number, Default: 429.0, Between: []float64{200, 599},
			Doc: "The status of refused requests."},
		schema.Field{Name: "error_message", Kind: schema.String, Default: "API rate limit exceeded",
			Doc: "The message of refused requests."},
		schema.Field{Name: "sync_rate", Kind: schema.Number, Required: true, Default: -1.0,
			Doc: "The seconds between two exchanges with Redis. -1: each request asks it."},
	)
	return entity.PluginKind{
		Priority: 910, Forgets: true,
		Protocols: entity.HTTPProtocols,
		Config:    &schema.Fields{List: fields, Shorthands: deprecated()},
		Rule:      sound,
		Checks: []schema.Check{
			schema.AtLeastOneOf(paths...),
			needs("policy", "redis", "redis.host", "config.redis.sentinel_nodes", "config.redis.cluster_nodes"),
			needs("policy", "redis", "redis.port"),
			needs("policy", "redis", "redis.timeout"),
			needs("limit_by", "header", "header_name"),
			needs("limit_by", "path", "path"),
		},
	}
}

// needs wants a field if another has the value, unless one of those is set that
// stand for it.
func needs(field, value, other string, also ...string) schema.Check {
	return schema.Conditional(schema.When{If: "config." + field, Match: schema.Field{Rules: []schema.Rule{schema.Equal(value)}},
		Then: "config." + other, Must: schema.Field{Required: true}, Also: also})
}

func redisFields() *schema.Fields {
	secret := func(name, doc string) schema.Field {
		return schema.Field{Name: name, Kind: schema.String, Encrypted: true, Referenceable: true, LenMin: new(0), Doc: doc}
	}
	user := func(name, doc string) schema.Field {
		return schema.Field{Name: name, Kind: schema.String, Referenceable: true, Doc: doc}
	}
	nodes := func(name, host string, port int64, doc string) schema.Field {
		return schema.Field{Name: name, Kind: schema.Array, LenMin: new(1), Doc: doc,
			Elem: &schema.Field{Kind: schema.Record, Fields: &schema.Fields{List: []schema.Field{
				entity.Required(entity.Host(host)),
				entity.Default(entity.Port("port"), port),
			}}}}
	}
	return &schema.Fields{
		List: []schema.Field{
			entity.Host("host"),
			entity.Default(entity.Port("port"), int64(6379)),
			entity.Timeout("timeout", 2000),
			user("username", "The user, of servers with ACLs."),
			secret("password", "The password. If unset, none is sent."),
			{Name: "database", Kind: schema.Integer, Default: int64(0), Doc: "The number of the database."},
			{Name: "ssl", Kind: schema.Boolean, Default: false, Doc: "Whether connections use TLS."},
			{Name: "ssl_verify", Kind: schema.Boolean, Default: false, Doc: "Whether the server's certificate is verified."},
			entity.ServerName("server_name"),
			{Name: "sentinel_master", Kind: schema.String, Doc: "The name of the master that the sentinels watch."},
			nodes("sentinel_nodes", "host", 26379, "The sentinels, which are asked for the master, instead of host."),
			user("sentinel_username", "The user that the sentinels want."),
			secret("sentinel_password", "The password that the sentinels want."),
			nodes("cluster_nodes", "ip", 6379, "Some nodes of a Redis cluster, instead of host."),
		},
		Checks: []schema.Check{
			schema.MutuallyExclusive("host", "sentinel_nodes", "cluster_nodes"),
			schema.MutuallyRequired("sentinel_master", "sentinel_nodes"),
		},
	}
}

// deprecated are the fields that were there before the record redis.
func deprecated() []schema.Shorthand {
	var list []schema.Shorthand
	for _, f := range []schema.Field{
		{Name: "host", Kind: schema.String},
		{Name: "port", Kind: schema.Integer},
		{Name: "password", Kind: schema.String, Encrypted: true, LenMin: new(0)},
		{Name: "username", Kind: schema.String},
		{Name: "ssl", Kind: schema.Boolean},
		{Name: "ssl_verify", Kind: schema.Boolean},
		{Name: "server_name", Kind: schema.String},
		{Name: "timeout", Kind: schema.Integer},
		{Name: "database", Kind: schema.Integer},
	} {
		path := "redis." + f.Name
		f.Name = "redis_" + f.Name
		list = append(list, schema.Shorthand{Field: f, Replaced: path})
	}
	return list
}

// sound wants limits that do not fall with their periods, and a sync_rate that
// has a meaning.
func sound(config schema.Object) string {
	for i, shorter := range names {
		low, ok := config[shorter].(float64)
		if !ok {
			continue
		}
		for _, longer := range names[i+1:] {
			if high, ok := config[longer].(float64); ok && high < low {
				return fmt.Sprintf("The limit for %s(%.1f) cannot be lower than the limit for %s(%.1f)", longer, high, shorter, low)
			}
		}
	}
	rate, _ := config["sync_rate"].(float64)
	switch {
	case rate == -1:
	case config["policy"] != "redis":
		return "sync_rate can only be used with the redis policy"
	case rate < 0.02:
		return "sync_rate must be greater than 0.02, or -1 to disable"
	}
	return ""
}
