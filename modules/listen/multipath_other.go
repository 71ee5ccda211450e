//go:build !linux

package listen

import "syscall"

func isMultipath(syscall.RawConn) bool { return false }
