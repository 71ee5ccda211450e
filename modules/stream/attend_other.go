//go:build !linux

package stream

import "github.com/portcullis-gateway/portcullis/modules/listen"

// An attendant accepts connections without a goroutine for each. This system has
// none.
type attendant struct{ socket *listen.Socket }

func (*listener) attend(*listen.Socket) (*attendant, bool) { return nil, false }

func (*attendant) leave() {}
