// Package ratelimiting is the plugin rate-limiting: how many requests a client
// may make in a second, minute, hour, day, month or year.
package ratelimiting

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/portcullis-gateway/portcullis/modules/http1"
	"github.com/portcullis-gateway/portcullis/modules/plugin"
	"github.com/portcullis-gateway/portcullis/modules/schema"
)

func init() { caddy.RegisterModule(new(Plugin)) }

// Plugin bounds how many requests a client may make within a second, minute,
// hour, day, month or year, and tells it in headers what is left.
//
// Windows are those of the calendar, in UTC: a limit for a minute begins anew
// when the clock's minute does. A request that is refused is not counted, in no
// window.
type Plugin struct {
	// The requests that may be made in a second. A fraction counts as the
	// beginning of one more request. At least one of the six is needed, and a
	// longer period may not have a lower limit. Default: none.
	Second *float64 `json:"second"`

	// The requests in a minute. Default: none.
	Minute *float64 `json:"minute"`

	// The requests in an hour. Default: none.
	Hour *float64 `json:"hour"`

	// The requests in a day. Default: none.
	Day *float64 `json:"day"`

	// The requests in a month. Default: none.
	Month *float64 `json:"month"`

	// The requests in a year. Default: none.
	Year *float64 `json:"year"`

	// Whose requests are added up: `consumer`, `credential`, `ip`, `service`,
	// `header` or `path`. Where a request has none of it, the client's address
	// takes its place. Default: `consumer`.
	LimitBy string `json:"limit_by"`

	// The header whose first value tells clients apart, with `limit_by`
	// `header`. Default: none.
	HeaderName string `json:"header_name"`

	// The path whose requests are added up, with `limit_by` `path`. Default:
	// none.
	Path string `json:"path"`

	// Where requests are counted: `local`, in this process; `cluster`, in the
	// gateway's store; `redis`, in a Redis server. Default: `local`.
	Policy string `json:"policy"`

	// Whether requests pass, uncounted, while the store or the Redis server
	// fails. Otherwise they are answered with 500. Default: true.
	FaultTolerant bool `json:"fault_tolerant"`

	// The Redis server.
	Redis *Redis `json:"redis"`

	// Whether the headers about limits are left out. Default: false.
	HideClientHeaders bool `json:"hide_client_headers"`

	// The status of refused requests. Default: 429.
	ErrorCode float64 `json:"error_code"`

	// The message of refused requests. Default: `API rate limit exceeded`.
	ErrorMessage string `json:"error_message"`

	// With the policy `redis`: the seconds between two exchanges with the
	// server, at least 0.02; requests are counted in memory meanwhile. -1 asks
	// the server for each request. Default: -1.
	SyncRate float64 `json:"sync_rate"`

	id         uuid.UUID
	identify   func(buf []byte, x *plugin.Exchange) []byte
	limits     *limits
	counters   counters
	complained atomic.Int64 // seconds since the epoch; see complain
}

// counters count requests.
type counters interface {
	// take counts a request of the client in all windows that have limits,
	// unless one of them is full: then in none. It answers what the counts
	// were before.
	take(client []byte, now time.Time, at *windows, l *limits) (counts, error)
}

// counts are requests, by period.
type counts [periods]int64

// CaddyModule returns the Caddy module information.
func (*Plugin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gateway.plugins.rate_limiting", New: func() caddy.Module {
		return &Plugin{LimitBy: "consumer", Policy: "local", FaultTolerant: true,
			ErrorCode: http.StatusTooManyRequests, ErrorMessage: "API rate limit exceeded", SyncRate: -1}
	}}
}

// Provision finds the counters, which outlive the instance.
func (p *Plugin) Provision(ctx caddy.Context) error {
	env := plugin.EnvOf(ctx)
	p.id = env.ID
	p.limits = newLimits([periods]*float64{p.Second, p.Minute, p.Hour, p.Day, p.Month, p.Year}, !p.HideClientHeaders)
	p.identify = p.identifier()
	if p.identify == nil {
		return fmt.Errorf("limit_by: unknown %q", p.LimitBy)
	}
	if p.ErrorCode < 200 || p.ErrorCode > 599 {
		return errors.New("error_code: value should be between 200 and 599")
	}
	var err error
	switch p.Policy {
	case "local":
		p.counters, err = plugin.Share(env, "counters", func() (*table, error) { return newTable(nil, 0), nil })
	case "cluster":
		if env.Counters == nil {
			return errors.New(`policy: "cluster" needs a store with a database; expected "local" or "redis"`)
		}
		p.counters, err = plugin.Share(env, "counters in the store", func() (*table, error) {
			return newTable(&stored{counters: env.Counters, scope: scopeOf(env)}, clusterRate), nil
		})
	case "redis":
		p.counters, err = p.provisionRedis(env)
	default:
		err = fmt.Errorf("policy: unknown %q", p.Policy)
	}
	return err
}

func (p *Plugin) provisionRedis(env *plugin.Env) (counters, error) {
	if p.Redis == nil {
		return nil, errors.New("redis: required field missing")
	}
	if schema.IsReference(p.Redis.Password) || schema.IsReference(p.Redis.Username) {
		return nil, errors.New("redis: references to vaults are not resolved in plugins")
	}
	if p.SyncRate == -1 {
		return plugin.Share(env, "redis "+p.Redis.key(), func() (*server, error) { return p.Redis.connect(scopeOf(env)) })
	}
	rate := time.Duration(p.SyncRate * float64(time.Second))
	return plugin.Share(env, fmt.Sprintf("redis %s every %s", p.Redis.key(), rate), func() (*table, error) {
		s, err := p.Redis.connect(scopeOf(env))
		if err != nil {
			return nil, err
		}
		return newTable(s, rate), nil
	})
}

// scopeOf is the part of a counter's key that says which requests it counts.
func scopeOf(env *plugin.Env) string {
	return env.Route.String() + ":" + env.Service.String()
}

// A visit is what the plugin remembers of a request until its response: room for
// whose it is, and what the client is told.
type visit struct {
	client [64]byte
	told   http1.Fields
}

var visits = sync.Pool{New: func() any { return new(visit) }}

// Access counts the request, or refuses it.
func (p *Plugin) Access(x *plugin.Exchange) error {
	v := visits.Get().(*visit)
	now := tickAt(x.Start)
	used, err := p.counters.take(p.identify(v.client[:0], x), x.Start, &now.windows, p.limits)
	if err != nil || p.limits.told == nil {
		visits.Put(v)
	}
	if err != nil {
		if !p.FaultTolerant {
			return err
		}
		p.complain(x, err)
		return nil
	}
	full := p.limits.full(&used)
	var retry []string
	if p.limits.told != nil {
		v.told = p.limits.tell(v.told[:0], &used, now, full)
		x.Set(v)
		if full {
			retry = []string{"Retry-After", v.told[len(v.told)-1].Value}
		}
	}
	if full {
		return plugin.Refuse(int(p.ErrorCode), p.ErrorMessage, retry...)
	}
	return nil
}

// HeaderFilter tells the client what is left.
func (p *Plugin) HeaderFilter(x *plugin.Exchange) error {
	if v, ok := x.Value().(*visit); ok {
		x.SetResponseFields(v.told...)
		x.Set(nil)
		visits.Put(v)
	}
	return nil
}

// complain says that requests are not counted: once in a while, and not for each
// of them.
func (p *Plugin) complain(x *plugin.Exchange, err error) {
	now, last := x.Start.Unix(), p.complained.Load()
	if now-last >= 10 && p.complained.CompareAndSwap(last, now) {
		x.Logger.Error("requests pass without being counted", zap.String("plugin", "rate-limiting"),
			zap.Stringer("plugin_id", p.id), zap.String("policy", p.Policy), zap.Error(err))
	}
}

// Interface guards
var (
	_ plugin.Described    = (*Plugin)(nil)
	_ plugin.Accessor     = (*Plugin)(nil)
	_ plugin.HeaderFilter = (*Plugin)(nil)
	_ caddy.Provisioner   = (*Plugin)(nil)
)
