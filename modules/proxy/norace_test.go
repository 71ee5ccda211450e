//go:build !race

package proxy

const race = false
