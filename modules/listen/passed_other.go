//go:build !unix

package listen

import (
	"errors"
	"os"
)

func passedFits(int, bool) (bool, error) { return false, errors.ErrUnsupported }

func duplicate(int) (*os.File, error) { return nil, errors.ErrUnsupported }
