package firewall

import (
	"os"
	"os/exec"
	"syscall"
)

// isolate gives the command a network of its own, and makes it root there.
func isolate(cmd *exec.Cmd, user bool) {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if user {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
		cmd.Env = append(cmd.Env, "XTABLES_LOCKFILE=/dev/null")
	}
	cmd.SysProcAttr = attr
}
