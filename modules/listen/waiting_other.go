//go:build !unix

package listen

// waiting reports whether a connection is there that nobody has accepted yet;
// this system does not tell.
func (s *Socket) waiting() bool { return false }
