package queue

import "github.com/portcullis-gateway/portcullis/modules/schema"

// Settings are what a plugin's configuration says of its queue. Durations are in
// seconds.
type Settings struct {
	// How many entries are sent at once, at most. Default: 1.
	MaxBatchSize int `json:"max_batch_size"`

	// How long the first entry of a batch may wait for others; only if
	// `max_batch_size` is above 1. Default: 1.
	MaxCoalescingDelay float64 `json:"max_coalescing_delay"`

	// How many entries may wait. Default: 10000.
	MaxEntries int `json:"max_entries"`

	// How many bytes may wait. Default: no limit.
	MaxBytes int64 `json:"max_bytes"`

	// For how long a batch is tried again; with -1 it is not. Default: 60.
	MaxRetryTime float64 `json:"max_retry_time"`

	// The wait before the first retry; it doubles with each further one.
	// Default: 0.01.
	InitialRetryDelay float64 `json:"initial_retry_delay"`

	// The longest wait between two tries. Default: 60.
	MaxRetryDelay float64 `json:"max_retry_delay"`

	// 1: one batch after the other. -1: every entry is sent at once, by itself,
	// and at most `max_entries` at a time. Default: 1.
	ConcurrencyLimit int `json:"concurrency_limit"`
}

// Field is the record `queue` in the table of a plugin's configuration
// (kong/tools/queue_schema.lua).
func Field() schema.Field {
	return schema.Field{Name: "queue", Kind: schema.Record, Required: true, Doc: "How entries wait for the receiver.",
		Fields: &schema.Fields{List: []schema.Field{
			{Name: "max_batch_size", Kind: schema.Integer, Default: int64(1), Between: []float64{1, 1000000},
				Doc: "How many entries are sent at once, at most."},
			{Name: "max_coalescing_delay", Kind: schema.Number, Default: 1.0, Between: []float64{0, 3600},
				Doc: "How long the first entry of a batch may wait for others, in seconds."},
			{Name: "max_entries", Kind: schema.Integer, Default: int64(10000), Between: []float64{1, 1000000},
				Doc: "How many entries may wait; then the oldest are dropped."},
			{Name: "max_bytes", Kind: schema.Integer, Doc: "How many bytes may wait; then the oldest entries are dropped."},
			{Name: "max_retry_time", Kind: schema.Number, Default: 60.0,
				Doc: "For how long a batch is tried again, in seconds; with -1 it is not."},
			{Name: "initial_retry_delay", Kind: schema.Number, Default: 0.01, Between: []float64{0.001, 1000000},
				Doc: "The wait before the first retry, in seconds. It doubles with each further one."},
			{Name: "max_retry_delay", Kind: schema.Number, Default: 60.0, Between: []float64{0.001, 1000000},
				Doc: "The longest wait between two tries, in seconds."},
			{Name: "concurrency_limit", Kind: schema.Integer, Default: int64(1), OneOf: schema.Values[int64](-1, 1),
				Doc: "How many batches are sent at the same time: 1, or -1 for no limit."},
		}}}
}
