// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
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
	net.Conn // nil: only for the methods nobody calls
}

func (c *opensslConn) Read(b []byte) (int, error)         { return c.out.Read(b) }
func (c *opensslConn) Write(b []byte) (int, error)        { return c.in.Write(b) }
func (c *opensslConn) SetReadDeadline(t time.Time) error  { return c.out.SetReadDeadline(t) }
func (c *opensslConn) SetWriteDeadline(t time.Time) error { return nil }
func (c *opensslConn) SetDeadline(t time.Time) error      { return c.out.SetReadDeadline(t) }
func (c *opensslConn) Close() error                       { return errors.Join(c.in.Close(), c.out.Close()) }

func (s *server) openssl(t testing.TB, args ...string) net.Conn {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl")
	}
	args = append([]string{"s_client", "-quiet", "-connect", s.addr, "-servername", s.name, "-CAfile", rootFile(),
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
	return &opensslConn{in: in, out: pr}
}

func (s *server) clientOpenSSL(t testing.TB, args ...string) *raw {
	t.Helper()
	r := newRaw(t, s, s.openssl(t, args...))
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
