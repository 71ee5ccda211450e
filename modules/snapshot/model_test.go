package snapshot_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/portcullis-gateway/portcullis/modules/balancer"
	"github.com/portcullis-gateway/portcullis/modules/entity"
	"github.com/portcullis-gateway/portcullis/modules/router"
	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/snapshot"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

var catalog = entity.NewCatalog(nil)

// A small alphabet, so that writes meet each other often.
var (
	paths     = []string{"/", "/a", "/a/b", "~/a/(?<x>[0-9]+)", "/c"}
	probes    = []string{"/", "/a", "/a/b/c", "/a/12", "/c", "/d"}
	services  = []string{"s1", "s2", "s3"}
	upstreams = []string{"u1.internal", "u2.internal"}
	targets   = []string{"10.0.0.1:80", "10.0.0.2:80"}
	names     = []string{"one.example", "*.example", "*"}
)

// TestApply_givesWhatNewGives changes a world at random, in batches, and after
// each compares the snapshot that was edited all along with one compiled from
// nothing.
func TestApply_givesWhatNewGives(t *testing.T) {
	pairs := []schema.Object{pair(t), pair(t)}
	rapid.Check(t, func(t *rapid.T) {
		image := store.NewImage(catalog)
		pools := balancer.NewPools()
		defer pools.Close()
		edited := snapshot.New(image, pools)
		edited.Publish()
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			tx := store.Begin(image, store.Options{Now: time.Unix(1, 0)})
			for range rapid.IntRange(1, 5).Draw(t, "writes") {
				write(t, tx, pairs)
			}
			before := facts(edited)
			old := edited
			image = tx.Image()
			edited, _ = old.Apply(image, tx.Changes())
			edited.Publish()
			followed(t, edited)
			if diff := cmp.Diff(facts(snapshot.New(image, pools)), facts(edited)); diff != "" {
				t.Fatalf("edited snapshot differs from a new one (-new +edited):\n%s", diff)
			}
			if diff := cmp.Diff(before, facts(old)); diff != "" {
				t.Fatalf("Apply changed the snapshot that it began with:\n%s", diff)
			}
		}
	})
}

// write makes one change of a random kind. One that the store refuses, such as
// a second row of the same name, changes nothing.
func write(t *rapid.T, tx *store.Tx, pairs []schema.Object) {
	pick := func(label string, from []string) string { return rapid.SampledFrom(from).Draw(t, label) }
	yes := rapid.Bool()
	byName := func(name string) store.Key { return store.Key{Field: "name", Value: name} }

	switch rapid.IntRange(0, 11).Draw(t, "kind") {
	case 0, 1:
		o := schema.Object{"host": pick("host", append(upstreams, "10.1.1.1")), "enabled": yes.Draw(t, "enabled"), "protocol": "https"}
		if cert, ok := anyRow(t, tx, "certificates"); ok && yes.Draw(t, "with certificate") {
			o["client_certificate"] = schema.Object{"id": cert}
		}
		tx.Upsert("services", byName(pick("service", services)), o)
	case 2, 3, 4:
		o := schema.Object{"paths": []any{pick("path", paths)}}
		if yes.Draw(t, "for streams") {
			o = schema.Object{"protocols": []any{"tls"}, "snis": []any{pick("server name", names[:2])}}
		}
		if s, ok := tx.Image().ByKey("services", "name", pick("service", services)); ok && yes.Draw(t, "with service") {
			o["service"] = schema.Object{"id": s.ID.String()}
		}
		tx.Upsert("routes", byName(pick("route", []string{"r1", "r2", "r3"})), o)
	case 5:
		tx.Update("services", byName(pick("service", services)), schema.Object{"enabled": yes.Draw(t, "enabled")})
	case 6:
		tx.Upsert("upstreams", byName(pick("upstream", upstreams)), schema.Object{})
	case 7:
		tx.Update("upstreams", byName(pick("upstream", upstreams)), schema.Object{"name": pick("new name", upstreams)})
	case 8:
		if u, ok := anyRow(t, tx, "upstreams"); ok {
			tx.Insert("targets", schema.Object{"upstream": schema.Object{"id": u}, "target": pick("target", targets), "weight": rapid.IntRange(0, 2).Draw(t, "weight")})
		}
	case 9:
		o := rapid.SampledFrom(pairs).Draw(t, "pair")
		tx.Insert("certificates", schema.Object{"cert": o["cert"], "key": o["key"], "snis": []any{pick("sni", names)}})
	case 10:
		if id, ok := anyRow(t, tx, "certificates"); ok {
			o := rapid.SampledFrom(pairs).Draw(t, "pair")
			tx.Update("certificates", store.Key{ID: uuid.MustParse(id)}, schema.Object{"cert": o["cert"], "key": o["key"]})
		}
	case 11:
		table := pick("table", []string{"services", "routes", "upstreams", "targets", "certificates", "snis"})
		if id, ok := anyRow(t, tx, table); ok {
			tx.Delete(table, store.Key{ID: uuid.MustParse(id)})
		}
	}
}

func anyRow(t *rapid.T, tx *store.Tx, table string) (string, bool) {
	var ids []string
	tx.Image().Ascend(table, uuid.Nil, func(r *store.Row) bool {
		ids = append(ids, r.ID.String())
		return true
	})
	if len(ids) == 0 {
		return "", false
	}
	return rapid.SampledFrom(ids).Draw(t, "row of "+table), true
}

// followed makes sure that the pools are what the snapshot says.
func followed(t *rapid.T, s *snapshot.Snapshot) {
	for _, name := range upstreams {
		u, ok := s.Upstream(name)
		if !ok {
			continue
		}
		var want, got []string
		for _, target := range u.Plan.Targets {
			if target.Weight > 0 {
				want = append(want, fmt.Sprintf("%s:%d=%d", target.Host, target.Port, target.Weight))
			}
		}
		for _, a := range u.Pool.Addresses() {
			got = append(got, fmt.Sprintf("%s=%d", a.Text, a.Weight))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("pool of %s differs from its plan (-plan +pool):\n%s", name, diff)
		}
	}
}

// facts tells all that can be asked of a snapshot.
func facts(s *snapshot.Snapshot) map[string]string {
	facts := map[string]string{}
	for _, path := range probes {
		m, ok := s.Match(request(path))
		answer := "none"
		if ok {
			answer = fmt.Sprintf("%s %q", m.Route.Name, m.Prefix)
			if m.Service != nil {
				answer += fmt.Sprintf(" to %s %s %s %v", m.Service.Name, m.Service.Host, m.Service.TLSKey, m.Service.Err)
			}
		}
		facts["path "+path] = answer
	}
	for _, name := range []string{"one.example", "two.example", "three"} {
		answer := "none"
		if m, ok := s.MatchStream(&router.Flow{Protocol: "tls", SNI: name}); ok {
			answer = m.Route.Name
			if m.Service != nil {
				answer += " to " + m.Service.Name
			}
		}
		facts["stream "+name] = answer
	}
	for _, name := range upstreams {
		answer := "none"
		if u, ok := s.Upstream(name); ok {
			answer = "targets"
			for _, t := range u.Plan.Targets {
				answer += fmt.Sprintf(" %s:%d=%d", t.Host, t.Port, t.Weight)
			}
		}
		facts["upstream "+name] = answer
	}
	for _, name := range names {
		answer := "none"
		if p, ok := s.Certificates().Lookup(strings.Replace(name, "*", "two", 1)); ok {
			answer = fmt.Sprintf("%x", p.Digest())
		}
		facts["name "+name] = answer
	}
	for p := range s.Problems() {
		facts["problem "+p.Table+" "+p.ID] = p.Reason
	}
	return facts
}

// request is a GET of the path.
func request(path string) *router.Request {
	return &router.Request{Method: "GET", Host: "example.com", Path: path, Header: http.Header{}}
}
