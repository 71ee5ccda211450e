package admin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"

	"github.com/portcullis-gateway/portcullis/modules/schema"
	"github.com/portcullis-gateway/portcullis/modules/store"
)

// targets are the endpoints for the targets of an upstream. There are none
// for targets as such.
type targets struct {
	table     *schema.Table
	upstreams *schema.Table
}

func (k targets) add(t *endpoints) {
	k.addReading(t)
	base := "/upstreams/:upstreams/targets"
	t.add(endpoint{pattern: base, verbs: verbs{"POST": k.children().create}})
	t.add(endpoint{pattern: base + "/:targets", verbs: verbs{"PUT": k.update, "PATCH": k.update, "DELETE": k.delete}})
	for health, is := range map[string]bool{"/healthy": true, "/unhealthy": false} {
		t.add(endpoint{pattern: base + "/:targets" + health, verbs: verbs{"PUT": k.setHealth(is)}})
		t.add(endpoint{pattern: base + "/:targets/:address" + health, verbs: verbs{"PUT": k.setHealth(is)}})
	}
}

// addReading adds the endpoints that change nothing.
func (k targets) addReading(t *endpoints) {
	base := "/upstreams/:upstreams/targets"
	t.add(endpoint{pattern: "/upstreams/:upstreams/health", verbs: verbs{"GET": k.health}})
	t.add(endpoint{pattern: base, verbs: verbs{"GET": k.latest}})
	t.add(endpoint{pattern: base + "/all", verbs: verbs{"GET": k.children().listAs("targets/all")}})
	t.add(endpoint{pattern: base + "/:targets", verbs: verbs{"GET": k.get}})
}

func (k targets) children() collection { return collection{k.table, k.upstreams, "upstream"} }

// find answers a target of an upstream, by its identifier or its host:port.
func (k targets) find(c *call, im *store.Image) (upstream, target *store.Row, err error) {
	upstream, _, err = find(im, k.upstreams, c.params[0])
	if err != nil {
		return nil, nil, err
	}
	of := refer(upstream.ID)
	if id, is := parseID(c.params[1]); is {
		target, _ = im.Get("targets", id)
	} else {
		target, _ = im.ByCacheKey("targets", schema.Object{"upstream": of, "target": c.params[1]})
	}
	if target == nil {
		return nil, nil, errNotFound
	}
	if id, _ := reference(im.Object("targets", target), "upstream"); id != upstream.ID {
		return nil, nil, errNotFound
	}
	return upstream, target, nil
}

func (k targets) get(c *call) (*answer, error) {
	im := c.world.View().Image
	_, row, err := k.find(c, im)
	if err != nil {
		return nil, err
	}
	return reply(http.StatusOK, show(im, k.table, row))
}

// update serves PATCH and PUT alike: in Kong neither creates a target.
func (k targets) update(c *call) (*answer, error) {
	in := c.input(k.table)
	var obj schema.Object
	err := c.writing(func(t tx) error {
		_, row, err := k.find(c, t.Image())
		if err != nil {
			return err
		}
		obj, err = t.Update("targets", store.Key{ID: row.ID}, in)
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(http.StatusOK, k.table.Marshal(obj))
}

func (k targets) delete(c *call) (*answer, error) {
	err := c.writing(func(t tx) error {
		_, row, err := k.find(c, t.Image())
		if err != nil {
			return err
		}
		_, err = t.Delete("targets", store.Key{ID: row.ID})
		return err
	})
	if err != nil {
		return nil, err
	}
	return reply(http.StatusNoContent, nil)
}

// A shownTarget is a target as the lists by age need it.
type shownTarget struct {
	row     *store.Row
	obj     schema.Object
	created float64
}

// byAge answers the targets of an upstream, the newest first.
func (k targets) byAge(im *store.Image, upstream *store.Row) []shownTarget {
	var list []shownTarget
	im.AscendChildren("targets", "upstream", upstream.ID, store.ID{}, func(r *store.Row) bool {
		obj := im.Object("targets", r)
		created, _ := obj["created_at"].(float64)
		list = append(list, shownTarget{r, obj, created})
		return true
	})
	slices.SortFunc(list, func(a, b shownTarget) int {
		return cmp.Or(cmp.Compare(b.created, a.created), bytes.Compare(b.row.ID[:], a.row.ID[:]))
	})
	return list
}

// latest lists the targets of an upstream, the newest first. Its offset is
// the number of targets before the page.
func (k targets) latest(c *call) (*answer, error) {
	im := c.world.View().Image
	upstream, _, err := find(im, k.upstreams, c.params[0])
	if err != nil {
		return nil, err
	}
	p, list, err := c.slice("targets", k.byAge(im, upstream))
	if err != nil {
		return nil, err
	}
	for _, t := range list {
		p.Data = append(p.Data, k.table.Marshal(t.obj))
	}
	return reply(http.StatusOK, p)
}

// slice cuts the page that the query asks for out of the targets of an
// upstream. What names the list below the upstream.
func (c *call) slice(what string, list []shownTarget) (page, []shownTarget, error) {
	p := page{Data: []json.RawMessage{}}
	size, err := c.pageSize()
	if err != nil {
		return p, nil, err
	}
	from := 0
	if text, n := c.query.get("offset"); n > 0 {
		if from, err = strconv.Atoi(text); err != nil || from < 0 {
			return p, nil, schema.InvalidOffset(text)
		}
	}
	list = list[min(from, len(list)):]
	if len(list) > size {
		list = list[:size]
		p.Offset = strconv.Itoa(from + size)
		next := "/upstreams/" + escape(c.params[0]) + "/" + what + "?offset=" + p.Offset
		p.Next = &next
	}
	return p, list, nil
}
