package admin

import (
	"math"
	"net/http"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/node"
	"github.com/portcullis-gateway/portcullis/modules/serve"
)

// maxProblems bounds how many rows /status names.
const maxProblems = 100

// traffic answers the counts of all listeners of this process, as Kong shows
// them (nginx's stub_status).
func traffic() map[string]int64 {
	t := serve.Counts()
	return map[string]int64{
		"connections_active":   t.Active,
		"connections_reading":  t.Reading,
		"connections_writing":  t.Writing,
		"connections_waiting":  t.Waiting,
		"connections_accepted": t.Accepted,
		"connections_handled":  t.Accepted,
		"total_requests":       t.Requests,
	}
}

// getStatus answers how the node is, in Kong's form and with the rows that
// cannot be served (`problems`).
func getStatus(c *call) (*answer, error) {
	format, err := c.byteFormat()
	if err != nil {
		return nil, err
	}
	status := map[string]any{
		"memory": map[string]any{
			"lua_shared_dicts": map[string]any{},
			"workers_lua_vms":  []any{map[string]any{"http_allocated_gc": format(heapBytes()), "pid": os.Getpid()}},
		},
		"server":   traffic(),
		"problems": append([]node.Problem{}, c.world.Problems(maxProblems)...),
	}
	if c.world.ReadOnly() {
		status["configuration_hash"] = c.world.View().Hash
	} else {
		status["database"] = map[string]any{"reachable": true}
	}
	return reply(http.StatusOK, status)
}

// heapBytes is the memory that live and not yet collected objects take.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// byteFormat reads the query's unit and scale (kong/tools/string.lua,
// bytes_to_str).
func (c *call) byteFormat() (func(uint64) any, error) {
	unit, n := c.query.get("unit")
	if n == 0 {
		unit = "m"
	}
	scale := 2
	if text, n := c.query.get("scale"); n > 0 {
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			if f < 0 || math.IsNaN(f) {
				return nil, badRequest("scale must be equal or greater than 0")
			}
			scale = int(min(f, 14))
		}
	}
	shift, suffix := 0, ""
	switch strings.ToLower(unit) {
	case "", "b":
		return func(b uint64) any { return b }, nil
	case "k":
		shift, suffix = 10, " KiB"
	case "m":
		shift, suffix = 20, " MiB"
	case "g":
		shift, suffix = 30, " GiB"
	default:
		return nil, badRequest("invalid unit '" + unit + "' (expected 'k/K', 'm/M', or 'g/G')")
	}
	return func(b uint64) any {
		return strconv.FormatFloat(float64(b)/float64(uint64(1)<<shift), 'f', scale, 64) + suffix
	}, nil
}
