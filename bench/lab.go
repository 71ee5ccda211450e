//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"embed"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// small is the body of a small answer.
const small = "an answer of sixty-six bytes, about what a health check would say."

// mostFiles is how many open files servers and load would like to have.
const mostFiles = 130_000

//go:embed templates
var templates embed.FS

// A lab is the place where servers run beside each other: a scratch folder, a
// core for the proxies, a core for everything else, and one upstream.
type lab struct {
	dir       string
	binary    string            // the gateway, which is also stock Caddy
	binaries  map[string]string // for peers that run another build, by name
	proxyCore int
	loadCore  int
	cert, key string // one P-256 pair for all
	origins   map[string]string
	servers   map[string]*server
	files     uint64  // how many each process may open
	rate      float64 // requests per second of the row p99
}

func newLab(binary string) (*lab, error) {
	if runtime.NumCPU() < 2 {
		return nil, errors.New("two cores are needed: one for the proxy, one for the load")
	}
	// files of an origin should not come from a disk
	parent := ""
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		parent = "/dev/shm"
	}
	dir, err := os.MkdirTemp(parent, "portcullis-bench")
	if err != nil {
		return nil, err
	}
	l := &lab{
		dir: dir, binary: binary, binaries: make(map[string]string),
		proxyCore: 0, loadCore: 1,
		origins: make(map[string]string), servers: make(map[string]*server),
	}
	if err := os.Chmod(dir, 0o755); err != nil { // workers of nginx are nobody
		return nil, err
	}
	if l.files, err = raiseFiles(); err != nil {
		return nil, err
	}
	return l, errors.Join(l.writeCertificate(), l.writeData())
}

// close ends all servers and removes what the lab wrote.
func (l *lab) close() {
	for _, s := range l.servers {
		s.stop()
	}
	os.RemoveAll(l.dir)
}

// raiseFiles lets this process and its children open many files, and answers
// how many.
func raiseFiles() (uint64, error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	most := syscall.Rlimit{Cur: mostFiles, Max: max(mostFiles, limit.Max)}
	if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &most) != nil {
		// the hard limit stays where it is without CAP_SYS_RESOURCE
		most = syscall.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &most); err != nil {
			return 0, err
		}
	}
	return most.Cur, nil
}

func (l *lab) writeData() error {
	for name, size := range map[string]int{"100k": 100_000, "10m": 10_000_000} {
		if err := os.WriteFile(filepath.Join(l.dir, name), bytes.Repeat([]byte("0123456789"), size/10), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) writeCertificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	cert, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "localhost"},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}}, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	l.cert, l.key = filepath.Join(l.dir, "cert.pem"), filepath.Join(l.dir, "key.pem")
	return errors.Join(
		os.WriteFile(l.cert, certPEM, 0o644),
		os.WriteFile(l.key, keyPEM, 0o600),
		os.WriteFile(filepath.Join(l.dir, "pair.pem"), append(certPEM, keyPEM...), 0o600),
	)
}

// A server is a process that listens.
type server struct {
	name  string
	dir   string
	ports map[string]string // what it listens for, to address
	cmd   *exec.Cmd

	// Of a peer that talks.
	input  io.Writer
	output *json.Decoder

	log  bytes.Buffer
	done chan struct{}
}

// start runs what p says on core, and returns when all its ports accept.
func (l *lab) start(p peer, core int) (*server, error) {
	s := &server{name: p.name, dir: filepath.Join(l.dir, strings.Map(func(r rune) rune {
		if strings.ContainsRune("/, ", r) {
			return '_'
		}
		return r
	}, p.name)), ports: make(map[string]string), done: make(chan struct{})}
	if err := os.Mkdir(s.dir, 0o755); err != nil {
		return nil, err
	}
	config := filepath.Join(s.dir, p.template)
	if p.template != "" {
		text, err := l.render(p.template, s)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	if p.prepare != nil {
		if err := p.prepare(l, s); err != nil {
			return nil, err
		}
	}
	s.cmd = l.command(core, p.command(l, s, config)...)
	s.cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir, "GOMAXPROCS=1")
	s.cmd.Stderr = &s.log
	if p.talks {
		in, err := s.cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		out, err := s.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		s.input, s.output = in, json.NewDecoder(out)
	} else {
		s.cmd.Stdout = &s.log
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.cmd.Wait(); close(s.done) }()
	for _, addr := range s.ports {
		if err := s.await(addr); err != nil {
			s.stop()
			return nil, err
		}
	}
	l.servers[p.name] = s
	return s, nil
}

// await returns when addr accepts connections.
func (s *server) await(addr string) error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-s.done:
			return fmt.Errorf("%s ended: %v\n%s", s.name, s.cmd.ProcessState, s.log.String())
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not listen on %s after a minute", s.name, addr)
		}
	}
}

func (s *server) stop() {
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-s.done
	}
}

// priority is the nice value of everything that is part of a measurement.
const priority = "-15"

// command prepares a process that is pinned to core and, if this process may,
// runs before others.
func (l *lab) command(core int, args ...string) *exec.Cmd {
	prefix := []string{"taskset", "-c", strconv.Itoa(core)}
	if os.Geteuid() == 0 {
		prefix = append([]string{os.Args[0], "first"}, prefix...)
	}
	args = append(prefix, args...)
	return exec.Command(args[0], args[1:]...)
}

// runFirst becomes the command in args, at a higher priority. Linux may weigh
// sessions against each other before it looks at the priorities in them
// (sched(7), autogroup), so the command gets a session and a weight of its own.
func runFirst(args []string) error {
	syscall.Setsid()
	os.WriteFile("/proc/self/autogroup", []byte(priority), 0)
	nice, err := exec.LookPath("nice")
	if err != nil {
		return err
	}
	return syscall.Exec(nice, append([]string{"nice", "-n", priority}, args...), os.Environ())
}

// render fills in the template called name for s. The function port makes up
// an address to listen on; origin answers one of the upstream.
func (l *lab) render(name string, s *server) (string, error) {
	t, err := template.New(name).Funcs(template.FuncMap{
		"port": func(use string) (string, error) {
			addr, err := s.listen(use)
			_, port, _ := strings.Cut(addr, ":")
			return port, err
		},
		"origin": func(use string) (string, error) {
			if addr, ok := l.origins[use]; ok {
				return addr, nil
			}
			return "", fmt.Errorf("no origin %q", use)
		},
	}).ParseFS(templates, "templates/"+name)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = t.ExecuteTemplate(&b, name, map[string]any{
		"Dir": s.dir, "Data": l.dir, "Cert": l.cert, "Key": l.key, "Small": small, "Files": l.files, "Connections": l.files/2 - 100,
		"Pair": filepath.Join(l.dir, "pair.pem"), "Core": l.loadCore, "Flags": flagsOf(s.name),
	})
	return b.String(), err
}

// nextPort lies below the ports that the system gives to outgoing connections.
var nextPort = 12_000 + os.Getpid()%8_000

// listen makes up an address of 127.0.0.1 that is free now.
func (s *server) listen(use string) (string, error) {
	for range 4000 {
		nextPort++
		addr := fmt.Sprintf("127.0.0.1:%d", nextPort)
		listener, err := net.Listen("tcp", addr)
		if err == nil {
			listener.Close()
			s.ports[use] = addr
			return addr, nil
		}
	}
	return "", errors.New("no free port")
}
