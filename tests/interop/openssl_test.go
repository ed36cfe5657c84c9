// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"
)

var errTimeout = os.ErrDeadlineExceeded

func fileMode(t testing.TB, name string) os.FileMode {
	t.Helper()
	st, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode().Perm()
}

// opensslConn is a connection through `openssl s_client`: Go's TLS cannot choose among the suites
// of TLS 1.3, and a second TLS implementation is worth having anyway.
type opensslConn struct {
	in       io.WriteCloser
	out      *os.File
	log      *logBuffer
	net.Conn // nil: only for the methods nobody calls
}

func (c *opensslConn) Read(b []byte) (int, error)         { return c.out.Read(b) }
func (c *opensslConn) Write(b []byte) (int, error)        { return c.in.Write(b) }
func (c *opensslConn) SetReadDeadline(t time.Time) error  { return c.out.SetReadDeadline(t) }
func (c *opensslConn) SetWriteDeadline(t time.Time) error { return nil }
func (c *opensslConn) SetDeadline(t time.Time) error      { return c.out.SetReadDeadline(t) }
func (c *opensslConn) Close() error                       { return errors.Join(c.in.Close(), c.out.Close()) }

func (s *server) openssl(t testing.TB, args ...string) *opensslConn {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl")
	}
	args = append([]string{"s_client", "-connect", s.addr, "-servername", s.name, "-CAfile", rootFile(),
		"-verify_return_error"}, args...)
	cmd := exec.Command(path, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = pw, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pw.Close()
	t.Cleanup(func() {
		in.Close()
		pr.Close()
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("openssl: %s", log)
		}
	})
	return &opensslConn{in: in, out: pr, log: log}
}

func (s *server) clientOpenSSL(t testing.TB, args ...string) *raw {
	t.Helper()
	r := newRaw(t, s, s.openssl(t, append(args, "-quiet")...))
	if err := r.upgrade(); err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	if err := r.login(key.NewNode(), infoUsual); err != nil {
		t.Fatalf("login: %v", err)
	}
	return r
}

func TestTLSSuites13(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	for _, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		t.Run(suite, func(t *testing.T) {
			a := s.clientOpenSSL(t, "-tls1_3", "-ciphersuites", suite)
			exchange(t, a, s.client(t), 200)
		})
	}
}

// Small and padded records from another implementation.
func TestTLSRecordShapes(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	for _, args := range [][]string{
		{"-tls1_3", "-max_send_frag", "512"},
		{"-tls1_3", "-record_padding", "4096"},
		{"-tls1_2", "-max_send_frag", "512"},
		{"-tls1_2", "-no_ticket"},
		{"-tls1_3", "-groups", "P-521"},
		{"-tls1_3", "-no_middlebox"},
	} {
		t.Run(args[0]+args[1], func(t *testing.T) {
			exchange(t, s.clientOpenSSL(t, args...), s.client(t), 100)
		})
	}
}

// KeyUpdate at any time, by either rule: with (K) and without (k) asking the server for one.
func TestTLSKeyUpdate(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	if isXderp() && s.feature(t, "ktls_rekey", "off") {
		t.Skip("this kernel can't change kTLS keys: see TestKTLSKeyUpdate")
	}
	for _, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		t.Run(suite, func(t *testing.T) {
			b := s.client(t)
			// -brief keeps standard output clean and still takes commands: a chunk that begins with a letter.
			c := s.openssl(t, "-brief", "-tls1_3", "-ciphersuites", suite)
			r := newRaw(t, s, c)
			k := key.NewNode()
			r.priv, r.pub = k, k.Public()
			// Frames do not begin with a command letter, "GET" does not either.
			if err := r.upgrade(); err != nil {
				t.Fatal(err)
			}
			if err := r.login(k, infoUsual); err != nil {
				t.Fatal(err)
			}
			for i := range 20 {
				io.WriteString(c, []string{"K\n", "k\n"}[i%2])
				until(t, "openssl to take the command", func() bool {
					return strings.Count(c.log.String(), "KEYUPDATE") == i+1
				})
				r.sendTo(b.pub, payload(6, uint64(i), 100*i))
				b.wantPacket(r.pub, payload(6, uint64(i), 100*i))
				b.sendTo(r.pub, payload(7, uint64(i), 1000*i))
				r.wantPacket(b.pub, payload(7, uint64(i), 1000*i))
				r.sync()
			}
		})
	}
}
