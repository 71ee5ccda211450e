package httplog

import (
	"strings"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/queue"
)

// TestOutlet_errorsTellNoSecrets looks at what gets into a log.
func TestOutlet_errorsTellNoSecrets(t *testing.T) {
	o, err := newOutlet(&Plugin{
		HTTPEndpoint: "http://user:password@127.0.0.1:1/path?token=t", Method: "POST",
		Headers: map[string]string{"X-Key": "key"}, Timeout: 5000, Queue: queue.Settings{MaxBatchSize: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = o.send(t.Context(), [][]byte{[]byte("entry")})
	if err == nil || !strings.HasPrefix(err.Error(), "request to 127.0.0.1:1: ") {
		t.Fatalf("got %v", err)
	}
	for _, secret := range []string{"user", "password", "path", "token", "key", "entry"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q is told: %v", secret, err)
		}
	}
}
