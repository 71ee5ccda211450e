//go:build !linux

package transparent

import "errors"

func setMark(uintptr, uint32) error { return errors.ErrUnsupported }
