package admin

import (
	"encoding/json"
	"net/http"
)

// consumers is the list of consumers, which may be searched by custom_id.
type consumers struct{ collection }

func (k consumers) list(c *call) (*answer, error) {
	customID, n := c.query.get("custom_id")
	switch {
	case n == 0:
		return k.collection.list(c)
	case n > 1 || customID == "":
		return nil, badRequest("custom_id must be an unempty string")
	}
	im := c.world.View().Image
	p := page{Data: []json.RawMessage{}}
	if row, found := im.ByKey("consumers", "custom_id", customID); found {
		p.Data = append(p.Data, show(im, k.table, row))
	}
	return reply(http.StatusOK, p)
}
