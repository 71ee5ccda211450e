//go:build !linux

package listen

// steerTo has no counterpart on this system.
func steerTo(uintptr, []int) {}
