package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/portcullis-gateway/portcullis/modules/patient"
	"github.com/portcullis-gateway/portcullis/transparent/netnstest"
)

// An interceptor is the binary on the host in the middle, between a client and
// a server.
type interceptor struct {
	*netnstest.Net
	t    *testing.T
	home *home
	cmd  *exec.Cmd
	log  *transcript
}

// intercept makes the hosts and runs the gateway with a Caddyfile.
func intercept(t *testing.T, caddyfile string) *interceptor {
	t.Helper()
	return interceptBy(t, caddyfile, func(i *interceptor) *exec.Cmd { return i.inside("run", "--config", "gateway.caddyfile") })
}

// interceptBy is intercept with a command of one's own.
func interceptBy(t *testing.T, caddyfile string, command func(*interceptor) *exec.Cmd) *interceptor {
	t.Helper()
	i := &interceptor{Net: netnstest.New(t), t: t, home: newHome(t, caddyfile), log: new(transcript)}
	i.cmd = command(i)
	i.cmd.Stdout, i.cmd.Stderr = i.log, i.log
	if err := i.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = i.cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() {
		_ = i.cmd.Process.Signal(syscall.SIGTERM)
		<-exited
		if log := i.log.String(); t.Failed() || strings.Contains(log, "DATA RACE") {
			t.Errorf("the log of the gateway:\n%s", log)
		}
	})
	patient.Until(t, "the gateway serves", func() bool {
		select {
		case <-exited:
			t.Fatalf("the gateway did not start\n%s", i.log)
		default:
		}
		return strings.Contains(i.log.String(), `"serving initial configuration"`)
	})
	return i
}

// inside prepares a run of the binary on the gateway.
func (i *interceptor) inside(args ...string) *exec.Cmd {
	i.t.Helper()
	outside := i.home.command(args...)
	cmd := i.Gateway.Command(outside.Path, args...)
	cmd.Dir, cmd.Env = outside.Dir, outside.Env
	return cmd
}

// reload has the gateway take another Caddyfile.
func (i *interceptor) reload(caddyfile string) {
	i.t.Helper()
	i.home.write("gateway.caddyfile", caddyfile)
	if out, err := i.inside("reload", "--force", "--config", "gateway.caddyfile").CombinedOutput(); err != nil {
		i.t.Fatalf("reload: %v\n%s", err, out)
	}
}

// stop ends the gateway, which writes what it has to write.
func (i *interceptor) stop() {
	i.t.Helper()
	cmd := i.inside("stop")
	if out, err := cmd.CombinedOutput(); err != nil {
		i.t.Fatalf("stop: %v\n%s", err, out)
	}
	patient.Until(i.t, "the gateway has stopped", func() bool { return strings.Contains(i.log.String(), `"shutdown complete"`) })
}

// write sends an entity to the Admin API.
func (i *interceptor) write(path string, entity map[string]any) {
	i.t.Helper()
	body, _ := json.Marshal(entity)
	url := fmt.Sprintf("http://%s/%s", i.home.addr("ADMIN"), path)
	resp, err := clientOn(i.t, i.Gateway, false).Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		i.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusCreated {
		i.t.Fatalf("POST /%s: %s: %s", path, resp.Status, answer)
	}
}

// says waits until the log says something, after some part of it.
func (i *interceptor) says(t *testing.T, before int, want string) {
	t.Helper()
	patient.Until(t, fmt.Sprintf("the log says %q", want), func() bool { return strings.Contains(i.log.String()[before:], want) })
}

// An interceptedLine is one of the access log.
type interceptedLine struct {
	RequestID   string `json:"request_id"`
	Arrived     string `json:"arrived"`
	Destination string `json:"destination"`
	Route       string `json:"route"`
	Target      string `json:"target"`
}

// line finds a line of the access log, after some part of the log; it is written
// after the answer.
func (i *interceptor) line(t *testing.T, before int, is func(interceptedLine) bool) (line interceptedLine) {
	t.Helper()
	patient.Until(t, "the access log has the line", func() bool {
		for text := range strings.SplitSeq(i.log.String()[before:], "\n") {
			line = interceptedLine{}
			if json.Unmarshal([]byte(text), &line) == nil && line.Arrived != "" && is(line) {
				return true
			}
		}
		return false
	})
	return line
}

// lineOf finds the line of a request.
func (i *interceptor) lineOf(t *testing.T, id string) interceptedLine {
	t.Helper()
	return i.line(t, 0, func(l interceptedLine) bool { return l.RequestID == id })
}

// lineAfter finds a line about a route, or about any.
func (i *interceptor) lineAfter(t *testing.T, before int, route string) interceptedLine {
	t.Helper()
	return i.line(t, before, func(l interceptedLine) bool { return route == "" || l.Route == route })
}

// streamLine is how and where to the access log says that a flow of a route came.
func (i *interceptor) streamLine(route string) string {
	for text := range strings.SplitSeq(i.log.String(), "\n") {
		var line struct{ Msg, Route, Arrived, Destination string }
		if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "handled connection" && line.Route == route {
			return line.Arrived + " " + line.Destination
		}
	}
	return ""
}
