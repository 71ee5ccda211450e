//go:build !unix

package http1

import (
	"io"
	"net/http"

	"github.com/portcullis-gateway/portcullis/modules/relay"
)

// Splice cannot be done on this system.
func Splice(http.ResponseWriter, io.Reader, *relay.Pipe, func(), func(int)) (int, error) {
	return 0, nil
}
