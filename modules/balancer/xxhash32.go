package balancer

import (
	"encoding/binary"
	"math/bits"
)

// The primes of xxHash (doc/xxhash_spec.md of its repository).
const (
	prime1 = 0x9E3779B1
	prime2 = 0x85EBCA77
	prime3 = 0xC2B2AE3D
	prime4 = 0x27D4EB2F
	prime5 = 0x165667B1
)

// xxHash32 is the 32 bit variant of xxHash with the seed 0. Kong places keys and
// targets with it, so they come to stand where they stood.
func xxHash32(s string) uint32 {
	n := len(s)
	var h uint32
	if n >= 16 {
		a, b, c, d := uint32(prime1), uint32(prime2), uint32(0), uint32(0)
		a += prime2
		d -= prime1
		for ; len(s) >= 16; s = s[16:] {
			a, b = round(a, s[:4]), round(b, s[4:8])
			c, d = round(c, s[8:12]), round(d, s[12:16])
		}
		h = bits.RotateLeft32(a, 1) + bits.RotateLeft32(b, 7) + bits.RotateLeft32(c, 12) + bits.RotateLeft32(d, 18)
	} else {
		h = prime5
	}
	h += uint32(n)
	for ; len(s) >= 4; s = s[4:] {
		h = bits.RotateLeft32(h+word(s)*prime3, 17) * prime4
	}
	for i := range len(s) {
		h = bits.RotateLeft32(h+uint32(s[i])*prime5, 11) * prime1
	}
	h = (h ^ h>>15) * prime2
	h = (h ^ h>>13) * prime3
	return h ^ h>>16
}

func round(acc uint32, s string) uint32 { return bits.RotateLeft32(acc+word(s)*prime2, 13) * prime1 }

func word(s string) uint32 { return binary.LittleEndian.Uint32([]byte(s[:4])) }
