package firewall

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// commandTimeout bounds each command: these take milliseconds.
const commandTimeout = 30 * time.Second

// A command is one that shows or changes the kernel's rules.
type command struct {
	name  string
	args  []string
	input string

	// scratch runs it in a network namespace that ends with it, so that it
	// changes nothing.
	scratch bool
}

// errSystem is what there is to say where rules cannot be brought into the
// kernel.
var errSystem = fmt.Errorf("rules are only printed on %s: they can be applied, checked and removed on Linux", runtime.GOOS)

// run answers what the command wrote.
func run(ctx context.Context, c command) (string, error) {
	path, err := find(c.name)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	start := func(user bool) (string, error) {
		var out, complaint bytes.Buffer
		cmd := exec.CommandContext(ctx, path, c.args...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(c.input), &out, &complaint
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		if c.scratch {
			isolate(cmd, user)
		}
		if err := cmd.Run(); err != nil {
			if exit := new(exec.ExitError); errors.As(err, &exit) && complaint.Len() > 0 {
				return "", &commandError{c, strings.TrimSpace(complaint.String())}
			}
			return "", fmt.Errorf("%s: %w", c.name, err)
		}
		return out.String(), nil
	}
	out, err := start(os.Geteuid() != 0)
	if c.scratch && errors.Is(err, os.ErrPermission) {
		out, err = start(true) // root without CAP_SYS_ADMIN
	}
	if c.scratch && errors.Is(err, os.ErrPermission) {
		return "", fmt.Errorf("%w: %w", errNoScratch, err)
	}
	return out, err
}

// errNoScratch says that a process may make no network namespace.
var errNoScratch = errors.New("a network namespace, in which rules are put into the form that the kernel shows them in, cannot be made (it needs CAP_SYS_ADMIN, or user namespaces)")

// A commandError is a command's own complaint.
type commandError struct {
	command   command
	complaint string
}

func (e *commandError) Error() string {
	text := fmt.Sprintf("%s: %s", strings.Join(append([]string{e.command.name}, e.command.args...), " "), e.complaint)
	if strings.Contains(e.complaint, "not permitted") || strings.Contains(e.complaint, "ermission denied") {
		text += "; changing the firewall needs the capability CAP_NET_ADMIN: run it as root, or with systemd's AmbientCapabilities=CAP_NET_ADMIN"
	}
	return text
}

// find looks for a command where users other than root may not: sbin.
func find(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	packages := map[string]string{"nft": "nftables", "ip": "iproute2"}
	pkg := packages[name]
	if pkg == "" {
		pkg = "iptables"
	}
	return "", &notInstalled{name, pkg}
}

// notInstalled says that a command is not there.
type notInstalled struct{ name, pkg string }

func (e *notInstalled) Error() string {
	return fmt.Sprintf("the command %s is not there (Debian: apt-get install %s)", e.name, e.pkg)
}
