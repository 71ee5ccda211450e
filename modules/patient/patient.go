// Package patient is for tests: it waits for what nobody is told of, and not for
// ever.
package patient

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Limit bounds what ought to happen at once but may take a while on a busy
// machine. Tests that fail take so long; others do not.
const Limit = time.Minute

// Until waits until f answers true: for what follows an answer, such as metrics
// and lines of a log, or for what happens on its own. It fails the test, with
// what was waited for, when Limit is over.
func Until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Limit); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// NoLeaks runs the tests of a package and ends the process, with an error if
// goroutines are left although they had time to end. It is for a TestMain. The
// options say what may be left.
func NoLeaks(m interface{ Run() int }, options ...goleak.Option) {
	code := m.Run()
	if code == 0 {
		err := goleak.Find(options...)
		for deadline := time.Now().Add(Limit); err != nil && time.Now().Before(deadline); {
			err = goleak.Find(options...)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "after all tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}
