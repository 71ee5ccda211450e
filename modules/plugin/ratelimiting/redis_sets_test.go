package ratelimiting_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/modules/plugin/plugintest"
)

// A sentinelSet is a master, its replica, and a sentinel that does not look after
// them unless it is told to.
type sentinelSet struct{ master, replica, sentinel *redisServer }

func startSentinelSet(t *testing.T) *sentinelSet {
	t.Helper()
	prompt := []string{"--repl-diskless-sync-delay", "0"}
	s := &sentinelSet{master: startRedis(t, prompt...)}
	s.replica = startRedis(t, append(prompt, "--replicaof", "127.0.0.1", strconv.Itoa(s.master.port))...)
	patient.Until(t, "the replica is in step", func() bool {
		return strings.Contains(s.replica.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	file := filepath.Join(t.TempDir(), "sentinel.conf")
	config := fmt.Sprintf("sentinel monitor main 127.0.0.1 %d 1\nsentinel down-after-milliseconds main 600000\nsentinel failover-timeout main 1000\n", s.master.port)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s.sentinel = startRedis(t, file, "--sentinel")
	s.knows(t, s.replica)
	return s
}

// knows waits until the sentinel knows of a replica that it could promote.
func (s *sentinelSet) knows(t *testing.T, replica *redisServer) {
	t.Helper()
	patient.Until(t, "the sentinel knows the replica", func() bool {
		text := s.sentinel.Do(t.Context(), "SENTINEL", "REPLICAS", "main").String()
		return strings.Contains(text, replica.addr()) && strings.Contains(text, "master-link-status:ok") && strings.Contains(text, "flags:slave ")
	})
}

// config is one of the plugin for a set, with a limit that nobody comes near to.
func (s *sentinelSet) config(rest string) string {
	return fmt.Sprintf(`{"year": 1000000, "policy": "redis", %s,
		"redis": {"timeout": 20000, "sentinel_master": "main", "sentinel_nodes": [{"host": "127.0.0.1", "port": %d}]}}`, rest, s.sentinel.port)
}

// counted is what a server has of a client, -1 if it does not answer.
func counted(t *testing.T, s *redisServer, client string) int {
	t.Helper()
	keys, err := s.Keys(t.Context(), "ratelimit:*:"+client+":*:year").Result()
	if err != nil || len(keys) > 1 {
		return -1
	}
	if len(keys) == 0 {
		return 0
	}
	n, err := s.Client.Get(t.Context(), keys[0]).Int()
	if err != nil {
		return -1
	}
	return n
}

// passed reports whether a request was counted, and how often its client is then.
func passed(r *http.Response) (int, bool) {
	left, err := strconv.Atoi(r.Header.Get("RateLimit-Remaining"))
	return 1000000 - left, r.StatusCode == http.StatusOK && err == nil
}

// failed reports whether a request was answered with an error because it could not
// be counted.
func failed(r *http.Response) bool {
	return r.StatusCode == http.StatusInternalServerError && strings.Contains(plugintest.Body(r), "An unexpected error occurred")
}

// uncounted reports whether a request passed without being counted.
func uncounted(r *http.Response) bool {
	return r.StatusCode == http.StatusOK && headersOf(r.Header) == ""
}

// TestRedis_sentinel kills the master. Until the sentinel has made a master of the
// replica, requests pass uncounted or not at all; then counting goes on from where
// it was.
func TestRedis_sentinel(t *testing.T) {
	s := startSentinelSet(t)
	const client = "192.0.2.1"
	strict, tolerant, lazy := plugintest.New(t), plugintest.New(t), plugintest.New(t)
	strict.Add("rate-limiting", s.config(`"fault_tolerant": false`))
	tolerant.Add("rate-limiting", s.config(`"fault_tolerant": true`))
	lazy.Add("rate-limiting", s.config(`"fault_tolerant": false, "sync_rate": 0.02`))
	fromElsewhere := plugintest.From("192.0.2.2:1")
	for i, g := range []*plugintest.Gateway{strict, tolerant} {
		if n, ok := passed(g.Get("/")); !ok || n != i+1 {
			t.Fatalf("request %d is counted as number %d, %t", i+1, n, ok)
		}
	}
	lazy.Get("/", fromElsewhere)
	patient.Until(t, "the replica knows what the master counted", func() bool {
		return counted(t, s.replica, client) == 2 && counted(t, s.replica, "192.0.2.2") == 1
	})
	s.master.kill()
	for range 5 {
		if r := strict.Get("/"); !failed(r) {
			t.Errorf("without a master, not tolerant: got %d %v", r.StatusCode, r.Header)
		}
		if r := tolerant.Get("/"); !uncounted(r) {
			t.Errorf("without a master, tolerant: got %d %v", r.StatusCode, r.Header)
		}
	}

	do(t, s.sentinel, "SENTINEL", "SET", "main", "down-after-milliseconds", 100)
	var first int
	patient.Until(t, "requests are counted again", func() (ok bool) {
		first, ok = passed(strict.Get("/"))
		return ok
	})
	if first != 3 {
		t.Errorf("the first request afterwards is number %d, want 3", first)
	}
	for i := range 5 {
		for j, g := range []*plugintest.Gateway{strict, tolerant} {
			r := g.Get("/")
			if n, ok := passed(r); !ok || n != 4+2*i+j {
				t.Errorf("request %d afterwards: got %d, %v", 2*i+j, r.StatusCode, r.Header)
			}
		}
	}
	patient.Until(t, "the promoted replica has all 13", func() bool { return counted(t, s.replica, client) == 13 })
	patient.Until(t, "the gateway that counts by itself tells the promoted replica", func() bool {
		lazy.Get("/", fromElsewhere)
		return counted(t, s.replica, "192.0.2.2") > 1
	})
}

// TestRedis_sentinelChangesTheMaster while both are alive, as for maintenance. The
// old one would still count until the sentinel comes back to it.
func TestRedis_sentinelChangesTheMaster(t *testing.T) {
	s := startSentinelSet(t)
	g := plugintest.New(t)
	g.Add("rate-limiting", s.config(`"fault_tolerant": false`))
	const before = 5
	for range before {
		g.Get("/")
	}
	patient.Until(t, "the replica knows what the master counted", func() bool { return counted(t, s.replica, "192.0.2.1") == before })
	do(t, s.sentinel, "SENTINEL", "FAILOVER", "main")
	patient.Until(t, "requests are counted in the new master", func() bool {
		n, ok := passed(g.Get("/"))
		return ok && n > before && counted(t, s.replica, "192.0.2.1") == n
	})
}

// A redisCluster is three masters that share the slots.
type redisCluster [3]*redisServer

func startRedisCluster(t *testing.T) redisCluster {
	t.Helper()
	var c redisCluster
	for i := range c {
		// A node that is late on a busy machine is not dead.
		c[i] = startRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "60000", "--cluster-require-full-coverage", "no")
	}
	const slots = 16384
	for i, s := range c {
		do(t, s, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		do(t, s, "CLUSTER", "ADDSLOTSRANGE", i*slots/3, (i+1)*slots/3-1)
	}
	for _, s := range c[1:] {
		do(t, s, "CLUSTER", "MEET", "127.0.0.1", c[0].port)
	}
	for _, s := range c {
		patient.Until(t, "all nodes know each other", func() bool {
			info := do(t, s, "CLUSTER", "INFO")
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384")
		})
	}
	return c
}

// do has a server do something, and answers what it says.
func do(t *testing.T, s *redisServer, words ...any) string {
	t.Helper()
	said, err := s.Do(t.Context(), words...).Result()
	if err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return fmt.Sprint(said)
}

func (c redisCluster) config(rest string) string {
	return fmt.Sprintf(`{"policy": "redis", "limit_by": "header", "header_name": "x", %s,
		"redis": {"timeout": 20000, "cluster_nodes": [{"ip": "127.0.0.1", "port": %d}, {"ip": "127.0.0.1", "port": %d}]}}`, rest, c[0].port, c[1].port)
}

// keys answers the counters of a client, and the node that has them. They have to
// be in one slot.
func (c redisCluster) keys(t *testing.T, client string) (keys []string, slot string, owner int) {
	t.Helper()
	for i, s := range c {
		found, err := s.Keys(t.Context(), "*:"+client+"}:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range found {
			at := do(t, s, "CLUSTER", "KEYSLOT", k)
			if slot != "" && at != slot {
				t.Fatalf("%s has counters in the slots %s and %s", client, slot, at)
			}
			slot, owner = at, i
		}
		keys = append(keys, found...)
	}
	return keys, slot, owner
}

func (c redisCluster) calls(command string) (n int) {
	for _, s := range c {
		n += s.stat(command)
	}
	return n
}

// TestRedis_cluster is one test, since it takes Redis two seconds to make a
// cluster.
func TestRedis_cluster(t *testing.T) {
	c := startRedisCluster(t)
	t.Run("a client's windows are in one slot", c.testSlots)
	t.Run("one script counts in all windows", c.testOneScript)
	t.Run("exact when many come at a time", func(t *testing.T) {
		exact(t, strings.ReplaceAll(c.config(`"hour": 40, "day": 50`), `"x"`, `"x-app"`), 40)
	})
	t.Run("a slot moves", c.testMove)
	t.Run("a node dies", c.testDeath)
}

func (c redisCluster) testSlots(t *testing.T) {
	const clients = 30
	for _, rate := range []string{"-1", "0.02"} {
		g := plugintest.New(t)
		g.Add("rate-limiting", c.config(`"fault_tolerant": false, "month": 2, "year": 3, "sync_rate": `+rate))
		name := func(i int) string { return "rate" + rate + "-client" + strconv.Itoa(i) }
		for i, status := range []int{200, 200, 429} {
			for n := range clients {
				if r := g.Get("/", plugintest.Header("X", name(n))); r.StatusCode != status || headersOf(r.Header) == "" {
					t.Errorf("sync_rate %s, request %d of client %d: got %d %v, want %d; %v", rate, i, n, r.StatusCode, r.Header, status, g.Logs.All())
				}
			}
		}
		used := map[int]bool{}
		for n := range clients {
			patient.Until(t, "a client has both counters", func() bool {
				keys, _, owner := c.keys(t, name(n))
				used[owner] = true
				return len(keys) == 2
			})
		}
		if len(used) != len(c) {
			t.Errorf("sync_rate %s: of three nodes, those with counters are %v", rate, used)
		}
	}
}

func (c redisCluster) testOneScript(t *testing.T) {
	const clients = 30
	g := plugintest.New(t)
	g.Add("rate-limiting", c.config(`"fault_tolerant": false, "second": 10, "minute": 10, "hour": 10, "day": 10, "month": 10, "year": 10`))
	count := func() {
		for n := range clients {
			if r := g.Get("/", plugintest.Header("X", "six"+strconv.Itoa(n))); r.StatusCode != 200 || headersOf(r.Header) == "" {
				t.Errorf("got %d %v", r.StatusCode, r.Header)
			}
		}
	}
	count() // then all nodes know the script
	for _, s := range c {
		do(t, s, "CONFIG", "RESETSTAT")
	}
	count()
	if scripts, plain := c.calls("evalsha"), c.calls("eval"); scripts != clients || plain != 0 {
		t.Errorf("%d requests were %d scripts by name and %d in full", clients, scripts, plain)
	}
}

// testMove moves a slot to another node. Nothing that was counted is lost on the
// way, and nothing is counted by half.
func (c redisCluster) testMove(t *testing.T) {
	strict, lazy := plugintest.New(t), plugintest.New(t)
	strict.Add("rate-limiting", c.config(`"fault_tolerant": false, "month": 999999, "year": 1000000`))
	lazy.Add("rate-limiting", c.config(`"fault_tolerant": false, "month": 999999, "year": 1000000, "sync_rate": 0.02`))
	header := plugintest.Header("X", "mover")
	total := 0
	count := func(when string) {
		t.Helper()
		total++
		if r := strict.Get("/", header); r.StatusCode != 200 || r.Header.Get("X-RateLimit-Remaining-Year") != strconv.Itoa(1000000-total) {
			t.Errorf("%s: got %d %v, want number %d; %v", when, r.StatusCode, r.Header, total, strict.Logs.All())
		}
	}
	count("before")
	count("before")

	keys, slot, from := c.keys(t, "mover")
	to := (from + 1) % len(c)
	var ids [len(c)]string
	for i, s := range c {
		ids[i] = do(t, s, "CLUSTER", "MYID")
	}
	move := func(key string) { do(t, c[from], "MIGRATE", "127.0.0.1", c[to].port, key, 0, 20000) }
	// moved is what the new node has in a counter, before it may tell everybody.
	moved := func(key string) int {
		conn := c[to].Conn()
		defer conn.Close()
		conn.Do(t.Context(), "ASKING")
		n, _ := conn.Get(t.Context(), key).Int()
		return n
	}
	do(t, c[to], "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from])
	do(t, c[from], "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])
	count("nothing has moved yet")
	move(keys[0])
	if r := strict.Get("/", header); !failed(r) {
		t.Errorf("one of two counters has moved: got %d %v", r.StatusCode, r.Header)
	}
	move(keys[1])
	count("both have moved, the slot has not")
	lazy.Get("/", header)
	total++
	patient.Until(t, "what was counted in memory comes to the new node", func() bool {
		return moved(keys[0]) == total && moved(keys[1]) == total
	})
	for _, i := range []int{to, from, 3 - to - from} {
		do(t, c[i], "CLUSTER", "SETSLOT", slot, "NODE", ids[to])
	}
	count("the slot has moved")
	count("the slot has moved")
	if now, at, owner := c.keys(t, "mover"); owner != to || at != slot || len(now) != len(keys) {
		t.Errorf("the counters are %v in slot %s of node %d, want %v in slot %s of node %d", now, at, owner, keys, slot, to)
	}
}

// testDeath kills a node. Its clients cannot be counted, those of the others can.
func (c redisCluster) testDeath(t *testing.T) {
	strict, tolerant, lazy := plugintest.New(t), plugintest.New(t), plugintest.New(t)
	strict.Add("rate-limiting", c.config(`"fault_tolerant": false, "year": 1000000`))
	tolerant.Add("rate-limiting", c.config(`"fault_tolerant": true, "year": 1000000`))
	lazy.Add("rate-limiting", c.config(`"fault_tolerant": false, "year": 1000000, "sync_rate": 0.1`))
	var clients [len(c)]string // one of each node
	for i, missing := 0, len(c); missing > 0; i++ {
		name := "mortal" + strconv.Itoa(i)
		strict.Get("/", plugintest.Header("X", name))
		tolerant.Get("/", plugintest.Header("X", name))
		if _, _, owner := c.keys(t, name); clients[owner] == "" {
			clients[owner] = name
			missing--
		}
	}
	const dead = 2
	for _, name := range clients { // told to the nodes together, a little later
		lazy.Get("/", plugintest.Header("X", name))
	}
	c[dead].kill()
	patient.Until(t, "who counts in memory hears that a node is dead", func() bool {
		return failed(lazy.Get("/", plugintest.Header("X", clients[dead])))
	})
	const more = 3
	for range more {
		for i, name := range clients {
			header := plugintest.Header("X", name)
			hard, soft := strict.Get("/", header), tolerant.Get("/", header)
			if i == dead {
				if !failed(hard) || !uncounted(soft) {
					t.Errorf("of the dead node: got %d and %d %v", hard.StatusCode, soft.StatusCode, soft.Header)
				}
				continue
			}
			_, ok := passed(hard)
			_, alsoOK := passed(soft)
			if !ok || !alsoOK {
				t.Errorf("of node %d: got %d %v and %d %v", i, hard.StatusCode, hard.Header, soft.StatusCode, soft.Header)
			}
		}
	}
	for i, name := range clients {
		if want := 2 + 1 + 2*more; i != dead {
			patient.Until(t, "each request to be counted once", func() bool { return counted(t, c[i], name+"}") == want })
		}
	}
}
