package listen

import (
	"fmt"
	"slices"
	"testing"
)

// TestTakers_renumberingSendsNothingAstray closes the old sockets of a group
// one by one, as the kernel numbers them, and asks at each moment who would
// take a connection.
func TestTakers_renumberingSendsNothingAstray(t *testing.T) {
	for olds := 1; olds <= 4; olds++ {
		for news := 1; news <= 4; news++ {
			t.Run(fmt.Sprintf("%d give way to %d", olds, news), func(t *testing.T) {
				var group []string
				for range olds {
					group = append(group, "old")
				}
				for range news {
					group = append(group, "new")
				}
				check := func(moment string, members []int) {
					t.Helper()
					hashed := len(members) == 0
					for _, m := range members {
						if m >= len(group) {
							hashed = true
						} else if group[m] != "new" {
							t.Errorf("%s: of %v, number %d may take a connection", moment, group, m)
						}
					}
					// The kernel chooses among all when a number does not exist.
					if hashed && slices.Contains(group, "old") && news > 1 {
						t.Errorf("%s: %v is no choice among %v", moment, members, group)
					}
				}
				isNew := func(i int) bool { return group[i] == "new" }
				check("draining", takers(len(group), isNew, false))
				for range olds {
					members := takers(len(group), isNew, true)
					check("before a socket is closed", members)
					i, last := slices.Index(group, "old"), len(group)-1
					group[i] = group[last]
					group = group[:last]
					check("after it is closed", members)
					check("steered anew", takers(len(group), isNew, false))
				}
				if members := takers(len(group), isNew, false); members != nil {
					t.Errorf("the old ones are gone, and only %v take connections", members)
				}
			})
		}
	}
}
