// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/types/key"
)

func TestKeyFile(t *testing.T) {
	s := start(t, opts{})
	if m := fileMode(t, s.keyFile); m != 0600 {
		t.Errorf("mode %o", m)
	}
	b, err := os.ReadFile(s.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]string
	if err := json.Unmarshal(b, &c); err != nil || len(c) != 1 || !strings.HasPrefix(c["PrivateKey"], "privkey:") || len(c["PrivateKey"]) != 8+64 {
		t.Errorf("%q %v", b, err)
	}
	first := s.client(t).serverKey
	s.stop(t)
	s2 := start(t, opts{dir: s.dir})
	if got := s2.client(t).serverKey; got != first {
		t.Errorf("key changed over a restart: %v, was %v", got, first)
	}
	if b2, _ := os.ReadFile(s.keyFile); string(b2) != string(b) {
		t.Errorf("file rewritten: %q", b2)
	}
}

func TestKeyFileDirectoryIsMade(t *testing.T) {
	dir := t.TempDir()
	s := newServer(t, opts{dir: dir})
	s.keyFile = dir + "/a/b/derper.key"
	if err := s.run(); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	defer s.finish(t)
	if m := fileMode(t, s.keyFile); m != 0600 {
		t.Errorf("mode %o", m)
	}
}

// A start that must fail: exit code not 0, in bounded time, with a word about it. (Its ports may
// answer before that, when they are another server's.)
func wantNoStart(t testing.TB, s *server, say string) {
	t.Helper()
	err := s.run()
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.kill()
		t.Fatalf("runs (%v); want failure saying %q", err, say)
	}
	if code := s.cmd.ProcessState.ExitCode(); code <= 0 {
		t.Errorf("exit: %v", s.cmd.ProcessState)
	}
	if log := s.log.String(); !strings.Contains(strings.ToLower(log), say) {
		t.Errorf("log lacks %q:\n%s", say, log)
	}
}

func TestRefusesToStart(t *testing.T) {
	for _, c := range []struct {
		name string
		o    opts
		prep func(s *server)
		say  string
	}{
		{"unknown flag", opts{args: []string{"-no-such-flag"}}, nil, "no-such-flag"},
		{"bad number", opts{args: []string{"-stun-port=x"}}, nil, "stun-port"},
		{"bad duration", opts{args: []string{"-tcp-write-timeout=2"}}, nil, "tcp-write-timeout"},
		{"bad boolean", opts{args: []string{"-derp=maybe"}}, nil, "derp"},
		{"bad home", opts{args: []string{"-home=nonsense"}}, nil, "home"},
		{"key file not JSON", opts{}, func(s *server) { os.WriteFile(s.keyFile, []byte("{"), 0600) }, ""},
		{"key file with bad key", opts{}, func(s *server) { os.WriteFile(s.keyFile, []byte(`{"PrivateKey":"privkey:00"}`), 0600) }, ""},
		{"no mesh key file", opts{args: []string{"-mesh-psk-file=/nonexistent"}}, nil, "nonexistent"},
		{"bad mesh key", opts{mesh: true}, func(s *server) {
			s.args = append(s.args, "-mesh-psk-file="+s.keyFile+".bad")
			os.WriteFile(s.keyFile+".bad", []byte("abc"), 0600)
		}, "mesh"},
		{"no certificate", opts{mode: tlsName, args: []string{"-hostname=missing.example.test"}}, nil, "missing.example.test"},
		{"certificate for another name", opts{mode: tlsName, args: []string{"-hostname=other.example.test"}}, func(s *server) {
			writeServerCert(s.dir, testName)
			for _, e := range []string{".crt", ".key"} {
				os.Rename(s.dir+"/"+testName+e, s.dir+"/other.example.test"+e)
			}
		}, "other.example.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(t, c.o)
			if c.prep != nil {
				c.prep(s)
			}
			wantNoStart(t, s, c.say)
		})
	}
}

func TestPortInUse(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m})
		second := newServer(t, opts{mode: m})
		second.addr = s.addr
		wantNoStart(t, second, "address already in use")
		if m == tlsName {
			third := newServer(t, opts{mode: m})
			third.httpAddr = s.httpAddr
			wantNoStart(t, third, "address already in use")
		}
		s.client(t).sync()
	}
}

func TestFlagForms(t *testing.T) {
	s := start(t, opts{args: []string{"--stun=false", "-tcp-keepalive-time", "1m30s", "--tcp-user-timeout=2s500ms", "-accept-connection-limit=+Inf", "--home", "blank"}})
	s.client(t).sync()
	if a := s.ask(t, "GET", request("GET", "/")); a.status != 200 || a.body != "" {
		t.Errorf("%v", a)
	}
	for _, flag := range []string{"-version", "--version"} {
		out, err := exec.Command(serverPath, flag).CombinedOutput()
		if err != nil || len(out) == 0 {
			t.Errorf("%s: %q %v", flag, out, err)
		}
	}
	for _, flag := range []string{"-help", "-h"} {
		out, err := exec.Command(serverPath, flag).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "-mesh-psk-file") {
			t.Errorf("%s: %v %.200q", flag, err, out)
		}
	}
}

func TestMainPortIs3340InDevMode(t *testing.T) {
	s := newServer(t, opts{args: []string{"-dev", "-stun=false"}})
	s.addr = "127.0.0.1:3340"
	if err := s.run(); err != nil {
		if strings.Contains(s.log.String(), "in use") {
			t.Skip("port 3340 is taken")
		}
		t.Fatalf("%v\n%s", err, s.log)
	}
	defer s.finish(t)
	s.client(t).sync()
	if _, err := os.Stat(s.keyFile); err == nil {
		t.Error("a key file was written")
	}
}

// SIGTERM and SIGINT end the process with 0 within 10 s, whatever its clients do.
func TestStopUnderLoad(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
			t.Run(fmt.Sprintf("%v %v", m, sig), func(t *testing.T) {
				s := start(t, opts{mode: m})
				a, b := s.client(t), s.client(t)
				s.narrow(t)
				s.upgrade(t)
				s.tcp(t)
				go func() { // until the connection breaks
					for {
						if _, err := a.c.Write(encode(fSendPacket, b.pub.AppendTo(nil), make([]byte, 500))); err != nil {
							return
						}
					}
				}()
				b.want(fRecvPacket)
				s.cmd.Process.Signal(sig)
				restarting := 0
				for {
					f, err := b.frame()
					if err == errTimeout {
						t.Fatal("not closed")
					}
					if err != nil {
						break
					}
					if f.typ == fRestarting && len(f.body) == 8 {
						restarting++
					}
				}
				if err := s.stop(t); err != nil {
					t.Errorf("exit: %v", err)
				}
				if isXderp() && restarting != 1 {
					t.Errorf("%d Restarting frames, want 1", restarting)
				}
			})
		}
	}
}

// Idle clients are told, then see the end of the stream and not a reset.
func TestStopTellsClients(t *testing.T) {
	needXderp(t, "it sends no Restarting frame")
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m})
		var all []*raw
		for range 20 {
			all = append(all, s.client(t))
		}
		s.cmd.Process.Signal(syscall.SIGTERM)
		for _, r := range all {
			if b := r.want(fRestarting); len(b) != 8 {
				t.Fatalf("Restarting of %d bytes", len(b))
			}
			if f, err := r.frame(); err != io.EOF {
				t.Errorf("%v %v, want EOF", f, err)
			}
		}
		if err := s.stop(t); err != nil {
			t.Errorf("exit: %v", err)
		}
	}
}

func TestHangupReloads(t *testing.T) {
	needXderp(t, "SIGHUP kills it")
	s := start(t, opts{mode: tlsName})
	a, b := s.client(t), s.client(t)
	for range 5 {
		s.cmd.Process.Signal(syscall.SIGHUP)
		deliver(a, b)
		s.client(t).sync()
	}
	s.alive(t)

	// A new certificate is served soon, on the old connections nothing changes.
	serialOf := func() string {
		cs, _, err := s.handshake(t, s.tlsConfig())
		if err != nil {
			t.Fatal(err)
		}
		return cs.PeerCertificates[0].SerialNumber.String()
	}
	old := serialOf()
	writeLeaf(s.dir, testName, nil)
	s.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the new certificate", func() bool { return serialOf() != old })
	deliver(a, b)

	// A bad file changes nothing.
	now := serialOf()
	writeFile(t, s.dir+"/"+testName+".crt", "garbage")
	s.cmd.Process.Signal(syscall.SIGHUP)
	for range 20 {
		if got := serialOf(); got != now {
			t.Fatal("bad certificate file changed what is served")
		}
	}
	deliver(a, b)
	s.alive(t)
}

func TestAcceptLimit(t *testing.T) {
	needXderp(t, "the first connection over the limit makes it exit")
	s := start(t, opts{mode: tlsName, args: []string{"-accept-connection-limit=5", "-accept-connection-burst=10"}})
	served := 0
	for range 40 {
		r := newRaw(t, s, s.tcp(t))
		if c, err := s.tryTLS(r.c); err == nil {
			r = newRaw(t, s, c)
			if r.upgrade() == nil && r.login(key.NewNode(), infoUsual) == nil {
				served++
			}
		}
	}
	s.alive(t)
	if served == 0 || served == 40 {
		t.Errorf("%d of 40 served", served)
	}
	until(t, "a connection later", func() bool {
		c, err := s.tryTLS(s.tcp(t))
		if err != nil {
			return false
		}
		r := newRaw(t, s, c)
		return r.upgrade() == nil && r.login(key.NewNode(), infoUsual) == nil
	})
}

// Clients of a killed server come back to one with the same key at once.
func TestRestartAfterKill(t *testing.T) {
	s := start(t, opts{dirty: true})
	a := s.client(t)
	s.stopped = true
	s.kill()
	a.wantClosed()
	s2 := newServer(t, opts{dir: s.dir})
	s2.addr = s.addr // the port must be free again in spite of connections in TIME_WAIT
	if err := s2.run(); err != nil {
		t.Fatalf("%v\n%s", err, s2.log)
	}
	defer s2.finish(t)
	if r := s2.clientAs(t, a.priv, infoUsual); r.serverKey != a.serverKey {
		t.Error("another key")
	}
}

func TestSocketOptions(t *testing.T) {
	ss, err := exec.LookPath("ss")
	if err != nil {
		t.Skip("no ss")
	}
	s := start(t, opts{args: []string{"-tcp-keepalive-time=10m"}})
	r := s.client(t)
	// timer:(keepalive,9min59sec,0)
	r.sync()
	until(t, "a keepalive timer on the server's socket", func() bool {
		out, err := exec.Command(ss, "-tnoH", "state", "established", "sport", "=", ":"+portOf(s.addr)).Output()
		return err == nil && strings.Contains(string(out), "keepalive,9min")
	})
}
