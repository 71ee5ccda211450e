//go:build !linux

package transparent

import "errors"

func setMark(uintptr) error { return errors.ErrUnsupported }

func setLatePort(uintptr) error { return errors.ErrUnsupported }
