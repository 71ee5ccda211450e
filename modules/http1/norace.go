//go:build !race

package http1

func (text) spoil() {}

func (*Head) spoil() {}
