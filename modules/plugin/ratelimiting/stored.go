package ratelimiting

import (
	"context"
	"strconv"
	"time"

	"github.com/portcullis-gateway/portcullis/modules/store"
)

// clusterRate is how often a node tells the store what it has counted, and learns
// what others have.
const clusterRate = 250 * time.Millisecond

// storeTimeout bounds one exchange with the store.
const storeTimeout = 5 * time.Second

// stored is a source in the gateway's store.
type stored struct {
	counters store.Counters
	scope    string
}

func (s *stored) add(deltas []delta) ([]int64, error) {
	list := make([]store.Count, len(deltas))
	for i, d := range deltas {
		list[i] = store.Count{Key: key(s.scope, d, false), Add: d.n, Until: time.Unix(end(d.period, d.start), 0)}
	}
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	return s.counters.Count(ctx, list)
}

func (s *stored) end() error { return nil }

// key is the counter's key (kong/plugins/rate-limiting/policies/init.lua,
// get_local_key). In a Redis cluster the windows of a client have to be on one
// node, which braces see to.
func key(scope string, d delta, cluster bool) string {
	b := make([]byte, 0, 160)
	b = append(b, "ratelimit:"...)
	if cluster {
		b = append(b, '{')
	}
	b = append(append(append(b, scope...), ':'), d.client...)
	if cluster {
		b = append(b, '}')
	}
	b = append(b, ':')
	b = strconv.AppendInt(b, d.start*1000, 10)
	b = append(b, ':')
	return string(append(b, names[d.period]...))
}
