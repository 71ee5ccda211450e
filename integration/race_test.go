//go:build race

package integration

// race tells that the tests, and the binary that they run, look for races.
const race = true
