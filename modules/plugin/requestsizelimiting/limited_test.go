package requestsizelimiting

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// A body ends at the limit, however it comes and however it is read.
func TestLimited(t *testing.T) {
	over := errors.New("too much")
	for _, n := range []int{0, 1, 9, 10, 11, 12, 1000} {
		sent := strings.Repeat("x", n)
		for name, from := range map[string]io.Reader{
			"whole": strings.NewReader(sent), "bytes": iotest.OneByteReader(strings.NewReader(sent)),
			"halves": iotest.HalfReader(strings.NewReader(sent)), "end with data": iotest.DataErrReader(strings.NewReader(sent)),
		} {
			for _, piece := range []int{1, 3, 10, 11, 64} {
				l := &limited{ReadCloser: io.NopCloser(from), left: 10, over: over}
				if s, ok := from.(*strings.Reader); ok {
					s.Reset(sent)
				} else if piece > 1 {
					continue // the others are read once
				}
				var got strings.Builder
				_, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{l}, make([]byte, piece))
				if want := sent[:min(n, 10)]; got.String() != want || (err == over) != (n > 10) {
					t.Errorf("%d bytes, %s, in pieces of %d: got %d bytes, %v", n, name, piece, got.Len(), err)
				}
				if _, err := l.Read(make([]byte, 1)); n > 10 && err != over {
					t.Errorf("%d bytes, %s: then %v", n, name, err)
				}
			}
		}
	}
}
