//go:build race

package proxy

// race says that the race detector is on: pools then forget at random, and
// allocations cannot be counted.
const race = true
