//go:build !(linux || freebsd || openbsd)

package transparent

import "errors"

func setTransparent(uintptr) error { return errors.ErrUnsupported }
