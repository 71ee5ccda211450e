package admin

import (
	"math"
	"net/http"
	"os"
	"runtime/metrics"
	"strconv"
	"strings"

	"github.com/portcullis-gateway/portcullis/modules/node"
)

// maxProblems bounds how many rows /status names.
const maxProblems = 100

// Stats counts connections and requests in nginx's terms, as /status shows
// them.
type Stats struct {
	Active   int64 `json:"connections_active"`
	Reading  int64 `json:"connections_reading"`
	Writing  int64 `json:"connections_writing"`
	Waiting  int64 `json:"connections_waiting"`
	Accepted int64 `json:"connections_accepted"`
	Handled  int64 `json:"connections_handled"`
	Requests int64 `json:"total_requests"`
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
		"server":   c.stats(),
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
