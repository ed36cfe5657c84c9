// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"tailscale.com/types/key"
)

type mode int

const (
	plain   mode = iota // HTTP on the main port
	tlsName             // TLS, certificate of the test CA for derp.example.test
	tlsIP               // TLS, self-signed certificate the server makes for 127.0.0.1
)

func (m mode) String() string { return [...]string{"plain", "tls", "tls-ip"}[m] }

const (
	testName = "derp.example.test"
	meshPSK  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
)

type opts struct {
	mode    mode
	mesh    bool     // give the server meshPSK
	private string   // server key, 64 hex digits; empty: the server makes one
	host    string   // listen address, default 127.0.0.1
	name    string   // -hostname in tlsName mode, default testName
	dir     string   // reuse a directory of an earlier start
	args    []string // further flags
	last    []string // flags that XDERP_ARGS must not undo
	env     []string // further environment
	dirty   bool     // the test itself deals with the exit
	control bool     // xderpd listens on s.socket
}

// server is one running relay process.
type server struct {
	opts
	addr     string // main listener
	httpAddr string // port 80's stand-in
	stunAddr string
	keyFile  string
	socket   string         // for xderpctl
	path     string         // of the program, if it is not the one under test
	bpffs    string         // for --bpffs, whose default is one for the whole machine; only if serverArgs need it
	pub      key.NodePublic // of the key file
	cmd      *exec.Cmd
	exited   chan struct{}
	exitErr  error
	log      *logBuffer
	stopped  bool
}

// logBuffer keeps the head and the tail of a server's log.
type logBuffer struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more int
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := 256<<10 - l.b.Len(); len(p) <= room {
		l.b.Write(p)
	} else {
		l.more += len(p)
	}
	return len(p), nil
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.more > 0 {
		return fmt.Sprintf("%s\n[%d further bytes]", l.b.String(), l.more)
	}
	return l.b.String()
}

// start runs a relay and returns when it accepts connections.
func start(t testing.TB, o opts) *server {
	t.Helper()
	for try := 0; ; try++ {
		s := newServer(t, o)
		err := s.run()
		if err == nil {
			t.Cleanup(func() { s.finish(t) })
			return s
		}
		// Another process took a port between our probe and the server's bind.
		if try < 5 && strings.Contains(strings.ToLower(s.log.String()), "in use") {
			continue
		}
		t.Fatalf("server did not start: %v\n%s", err, s.log)
	}
}

func newServer(t testing.TB, o opts) *server {
	t.Helper()
	if o.host == "" {
		o.host = "127.0.0.1"
		if len(remotes) > 0 {
			o.host = wildcard
		}
	}
	if o.name == "" {
		o.name = testName
	}
	if o.dir == "" {
		o.dir = serverDir(t)
	}
	s := &server{
		opts:     o,
		addr:     hostPort(o.host, freePort()),
		httpAddr: hostPort(o.host, freePort()),
		stunAddr: hostPort(o.host, freePort()),
		keyFile:  filepath.Join(o.dir, "derper.key"),
		log:      new(logBuffer),
	}
	if (slices.Contains(serverArgs, "--splice=on") || slices.Contains(serverArgs, "--splice-tls=on")) && !slices.Contains(o.args, "--bpffs") {
		s.bpffs = bpffs(t)
	}
	if o.control {
		s.socket = filepath.Join(shortDir(t), "s")
	}
	if o.private != "" {
		writeFile(t, s.keyFile, fmt.Sprintf("{\n\t\"PrivateKey\": \"privkey:%s\"\n}", o.private))
	}
	return s
}

func serverDir(t testing.TB) string {
	if os.Getenv("XDERP_KEEP") == "" {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "interop-")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("server files: %s", dir)
	return dir
}

// shortDir is a directory whose name leaves room for a socket's (107 bytes in all).
func shortDir(t testing.TB) string {
	dir, err := os.MkdirTemp("", "ctl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// argv is the command line: derper's flags only, then the test's, then XDERP_ARGS, then those that the test is about.
func (s *server) argv() []string {
	a := []string{
		"-a", s.addr, "-c", s.keyFile,
		"-http-port", portOf(s.httpAddr), "-stun-port", portOf(s.stunAddr),
	}
	switch s.mode {
	case tlsName:
		writeServerCert(s.dir, s.name)
		a = append(a, "-certmode", "manual", "-certdir", s.dir, "-hostname", s.name)
	case tlsIP:
		a = append(a, "-certmode", "manual", "-certdir", s.dir, "-hostname", "127.0.0.1")
	}
	if s.mesh {
		f := filepath.Join(s.dir, "mesh.key")
		os.WriteFile(f, []byte(meshPSK+"\n"), 0600)
		a = append(a, "-mesh-psk-file", f)
	}
	a = append(a, s.args...)
	if s.path == serverPath {
		a = append(a, serverArgs...)
		if s.bpffs != "" {
			a = append(a, "--bpffs", s.bpffs)
		}
		a = append(a, s.last...)
		if isXderp() { // the default is one for the whole machine
			a = append(a, "--control-socket", s.socket)
		}
	}
	return a
}

func (s *server) run() error {
	if s.path == "" {
		s.path = serverPath
	}
	s.cmd = exec.Command(s.path, s.argv()...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_CACHE_HOME="+s.dir)
	s.cmd.Env = append(s.cmd.Env, s.env...)
	// A test process that is killed must not leave relays behind.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.exited = make(chan struct{})
	go func() {
		s.exitErr = s.cmd.Wait()
		close(s.exited)
	}()
	return s.waitReady()
}

func (s *server) waitReady() error {
	want := []string{s.addr}
	if s.mode != plain && !s.hasArg("-http-port") {
		want = append(want, s.httpAddr)
	}
	if s.socket != "" {
		defer s.waitSocket()
	}
	for end := time.Now().Add(patience); len(want) > 0; {
		select {
		case <-s.exited:
			return fmt.Errorf("exited: %v", s.exitErr)
		default:
		}
		c, err := net.Dial("tcp", want[0])
		if err == nil {
			c.Close()
			want = want[1:]
			continue
		}
		if time.Now().After(end) {
			s.kill()
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return s.readKey()
}

// waitSocket waits for the control socket, which comes after the listeners.
func (s *server) waitSocket() {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case <-s.exited:
			return
		default:
		}
		if c, err := net.Dial("unix", s.socket); err == nil {
			c.Close()
			return
		}
	}
}

func (s *server) hasArg(name string) bool {
	for _, a := range s.args {
		if strings.HasPrefix(strings.TrimLeft(a, "-")+"=", strings.TrimLeft(name, "-")+"=") {
			return true
		}
	}
	return false
}

func (s *server) readKey() error {
	b, err := os.ReadFile(s.keyFile)
	if errors.Is(err, os.ErrNotExist) && s.hasArg("-dev") {
		return nil
	}
	if err != nil {
		return err
	}
	var c struct{ PrivateKey key.NodePrivate }
	if err := json.Unmarshal(b, &c); err != nil {
		return fmt.Errorf("key file: %v", err)
	}
	s.pub = c.PrivateKey.Public()
	return nil
}

func (s *server) kill() {
	s.cmd.Process.Kill()
	<-s.exited
}

// stop sends SIGTERM and returns the exit error, or fails the test when its patience ends.
func (s *server) stop(t testing.TB) error {
	t.Helper()
	s.stopped = true
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.exited:
		return s.exitErr
	case <-time.After(patience):
		s.kill()
		t.Errorf("no exit within %v of SIGTERM", patience)
		return nil
	}
}

// finish is the cleanup of start: stop unless the test did, and judge exit code and log.
func (s *server) finish(t testing.TB) {
	if !s.stopped {
		if err := s.stop(t); err != nil && !s.dirty {
			t.Errorf("exit after SIGTERM: %v", err)
		}
	}
	log := s.log.String()
	for _, bad := range []string{"Sanitizer", "runtime error:", "Assertion", "panic: runtime"} {
		if isXderp() && strings.Contains(log, bad) {
			t.Errorf("server log has %q", bad)
		}
	}
	if t.Failed() {
		t.Logf("server %s %s:\n%s", s.path, strings.Join(s.argv(), " "), log)
	}
}

// alive fails the test if the server process has gone.
func (s *server) alive(t testing.TB) {
	t.Helper()
	select {
	case <-s.exited:
		t.Fatalf("server exited: %v", s.exitErr)
	default:
	}
}

// certHash is the CertName of a DERP map for the self-signed certificate of tlsIP mode.
func (s *server) certHash(t testing.TB) string {
	t.Helper()
	sum := sha256.Sum256(readCert(t, filepath.Join(s.dir, "127.0.0.1.crt")).Raw)
	return "sha256-raw:" + hex.EncodeToString(sum[:])
}

// wildcard as listen address stands for all addresses of both families.
const wildcard = "*"

func hostPort(host, port string) string {
	if host == wildcard {
		host = ""
	}
	return net.JoinHostPort(host, port)
}

func portOf(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

func portNum(addr string) int {
	n, _ := strconv.Atoi(portOf(addr))
	return n
}

const firstPort, numPorts = 10000, 20000

var portsTried atomic.Int32

func init() { portsTried.Store(rand.Int32N(numPorts)) }

// freePort finds a port below the ephemeral range (so that no outgoing connection takes it) that is free for TCP and UDP.
// None is given out twice: tests that run in parallel hold many that no server has bound yet.
func freePort() string {
	for {
		p := strconv.Itoa(firstPort + int(portsTried.Add(1)%numPorts))
		l, err := net.Listen("tcp", ":"+p)
		if err != nil {
			continue
		}
		u, err := net.ListenPacket("udp", ":"+p)
		l.Close()
		if err != nil {
			continue
		}
		u.Close()
		return p
	}
}

// The nodes of a mesh must know each other's ports before any of them runs, so they can't have a second try.
func TestFreePortsDiffer(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		p := freePort()
		if seen[p] {
			t.Fatalf("port %s was given out twice", p)
		}
		seen[p] = true
	}
}

func writeFile(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0600); err != nil {
		t.Fatal(err)
	}
}

// within is a context that ends with the test's patience.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}
