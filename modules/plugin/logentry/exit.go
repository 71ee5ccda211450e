package logentry

import (
	"context"

	"github.com/caddyserver/caddy/v2"

	"github.com/portcullis-gateway/portcullis/modules/queue"
)

// What the queues of the plugins that log still hold is sent when the process ends.
func init() {
	caddy.OnExit(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, 2*queue.DrainTime)
		defer cancel()
		queue.Drain(ctx)
	})
}
