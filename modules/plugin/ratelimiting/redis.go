package ratelimiting

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

func init() { logging.Disable() } // the client's own log; errors come back to us

// Redis says where a Redis server is.
type Redis struct {
	// The name or address of the server. Default: none.
	Host string `json:"host"`

	// Its port. Default: 6379.
	Port int `json:"port"`

	// How long connecting, sending and receiving may take each, in
	// milliseconds. Default: 2000.
	Timeout int `json:"timeout"`

	// The user, of servers with ACLs. Default: none.
	Username string `json:"username"`

	// The password. Default: none.
	Password string `json:"password"`

	// The number of the database. Default: 0.
	Database int `json:"database"`

	// Whether connections use TLS. Default: false.
	SSL bool `json:"ssl"`

	// Whether the server's certificate is verified, with the system's roots.
	// Default: false.
	SSLVerify bool `json:"ssl_verify"`

	// The server's name in TLS. Default: the host.
	ServerName string `json:"server_name"`

	// The name of the master that the sentinels watch. Not in Kong's open
	// edition. Default: none.
	SentinelMaster string `json:"sentinel_master"`

	// The sentinels, which are asked for the master, instead of `host`. Default:
	// none.
	SentinelNodes []sentinel `json:"sentinel_nodes"`

	// The user that the sentinels want. Default: none.
	SentinelUsername string `json:"sentinel_username"`

	// The password that the sentinels want. Default: none.
	SentinelPassword string `json:"sentinel_password"`

	// Some nodes of a Redis cluster, instead of `host`. Default: none.
	ClusterNodes []node `json:"cluster_nodes"`
}

type sentinel struct {
	// The name or address of a sentinel.
	Host string `json:"host"`

	// Its port. Default: 26379.
	Port int `json:"port"`
}

type node struct {
	// The name or address of a node of the cluster.
	IP string `json:"ip"`

	// Its port. Default: 6379.
	Port int `json:"port"`
}

// key tells settings apart, without telling the passwords.
func (r *Redis) key() string {
	b, _ := json.Marshal(r)
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// clients are open, and shared by all that have the same settings.
var clients = caddy.NewUsagePool()

type pooled struct{ redis.UniversalClient }

// Destruct closes the connections.
func (p *pooled) Destruct() error { return p.Close() }

// A server counts in Redis.
type server struct {
	client  redis.UniversalClient
	pool    string // its key in clients
	scope   string
	cluster bool
}

// connect opens nothing yet.
func (r *Redis) connect(scope string) (*server, error) {
	s := &server{pool: r.key(), scope: scope, cluster: len(r.ClusterNodes) > 0}
	v, _, err := clients.LoadOrNew(s.pool, func() (caddy.Destructor, error) { return r.open(), nil })
	if err != nil {
		return nil, err
	}
	s.client = v.(*pooled)
	return s, nil
}

func (r *Redis) open() *pooled {
	timeout := max(time.Duration(r.Timeout), 1) * time.Millisecond
	o := &redis.UniversalOptions{
		Protocol: 2, Username: r.Username, Password: r.Password, DB: r.Database,
		SentinelUsername: r.SentinelUsername, SentinelPassword: r.SentinelPassword,
		DialTimeout: timeout, ReadTimeout: timeout, WriteTimeout: timeout, PoolTimeout: timeout,
		MaxRetries: -1, DialerRetries: 1, PoolSize: 100, PipelinePoolSize: -1,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	address := func(host string, port int) string {
		return net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port))
	}
	switch {
	case len(r.SentinelNodes) > 0:
		o.MasterName = r.SentinelMaster
		for _, n := range r.SentinelNodes {
			o.Addrs = append(o.Addrs, address(n.Host, n.Port))
		}
	case len(r.ClusterNodes) > 0:
		o.IsClusterMode = true
		for _, n := range r.ClusterNodes {
			o.Addrs = append(o.Addrs, address(n.IP, n.Port))
		}
	default:
		o.Addrs = []string{address(r.Host, r.Port)}
	}
	if r.SSL {
		o.TLSConfig = &tls.Config{InsecureSkipVerify: !r.SSLVerify, ServerName: r.ServerName} // the dialer fills in the host
	}
	return &pooled{redis.NewUniversalClient(o)}
}

// taking counts a request in all windows or, if one of them is full, in none,
// and answers the counts before. Its arguments are the limit of each key, and the
// seconds for which it is kept.
var taking = redis.NewScript(`
local used, room = {}, true
for i, key in ipairs(KEYS) do
	used[i] = tonumber(redis.call('GET', key) or 0)
	room = room and used[i] < tonumber(ARGV[2 * i - 1])
end
if room then
	for i, key in ipairs(KEYS) do
		if redis.call('INCR', key) == 1 then
			redis.call('EXPIRE', key, ARGV[2 * i])
		end
	end
end
return used`)

// take counts in one round trip.
func (s *server) take(client []byte, _ time.Time, at *windows, l *limits) (counts, error) {
	name := string(client)
	keys := make([]string, len(l.set))
	args := make([]any, 0, 2*len(l.set))
	for i, p := range l.set {
		keys[i] = key(s.scope, delta{client: name, period: p, start: at[p]}, s.cluster)
		args = append(args, text(l.value[p]), end(p, at[p])-at[second]+1)
	}
	var used counts
	got, err := taking.Run(context.Background(), s.client, keys, args...).Int64Slice()
	if err != nil {
		return used, fmt.Errorf("redis: %w", err)
	}
	if len(got) != len(keys) {
		return used, errors.New("redis: unexpected answer")
	}
	for i, p := range l.set {
		used[p] = got[i]
	}
	return used, nil
}

// adding adds to a counter, or reads it.
var adding = redis.NewScript(`
if ARGV[1] == '0' then
	return tonumber(redis.call('GET', KEYS[1]) or 0)
end
local n = redis.call('INCRBY', KEYS[1], ARGV[1])
if n == tonumber(ARGV[1]) then
	redis.call('EXPIREAT', KEYS[1], ARGV[2])
end
return n`)

// add adds in one round trip, or two after the server has forgotten the script. In
// a cluster some nodes may fail and others not.
func (s *server) add(deltas []delta) ([]int64, error) {
	ctx := context.Background()
	totals := make([]int64, len(deltas))
	todo := make([]int, len(deltas)) // indexes of deltas
	for i := range todo {
		todo[i] = i
	}
	var failure error
	for _, eval := range []func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd{adding.EvalSha, adding.Eval} {
		p := s.client.Pipeline()
		cmds := make([]*redis.Cmd, len(todo))
		for n, i := range todo {
			d := deltas[i]
			cmds[n] = eval(ctx, p, []string{key(s.scope, d, s.cluster)}, d.n, end(d.period, d.start)+1)
		}
		_, _ = p.Exec(ctx) // each command has its own error
		var unknown []int
		for n, i := range todo {
			total, err := cmds[n].Int64()
			switch {
			case err == nil:
				totals[i] = total
			case errors.Is(err, redis.ErrNoScript), redis.HasErrorPrefix(err, "NOSCRIPT"):
				unknown = append(unknown, i)
			default:
				totals[i], failure = -1, fmt.Errorf("redis: %w", err)
			}
		}
		if todo = unknown; len(todo) == 0 {
			break
		}
	}
	for _, i := range todo {
		totals[i], failure = -1, errors.New("redis: the server does not keep scripts")
	}
	return totals, failure
}

func (s *server) end() error {
	_, err := clients.Delete(s.pool)
	return err
}

// Destruct gives the connections back.
func (s *server) Destruct() error { return s.end() }
