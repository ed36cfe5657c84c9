// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tailscale.com/types/key"
)

// pebble is an ACME CA for tests, with the names of a zone.
type pebble struct {
	url    string // its directory
	manage string
}

// startPebble runs the program that XDERP_PEBBLE names; it asks for challenges at httpPort.
func startPebble(t testing.TB, httpPort, dns string, account bool) *pebble {
	t.Helper()
	dir := t.TempDir()
	writeLeaf(dir, "localhost", nil)
	p := &pebble{url: hostPort("localhost", freePort()), manage: hostPort("localhost", freePort())}
	cfg := map[string]any{
		"listenAddress": p.url, "managementListenAddress": p.manage,
		"certificate": filepath.Join(dir, "localhost.crt"), "privateKey": filepath.Join(dir, "localhost.key"),
		"httpPort": json.Number(httpPort), "tlsPort": 1, "keyAlgorithm": "ecdsa",
		"retryAfter":                     map[string]int{"authz": 1, "order": 1},
		"externalAccountBindingRequired": account,
		"externalAccountMACKeys":         map[string]string{"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
	}
	b, _ := json.Marshal(map[string]any{"pebble": cfg})
	file := filepath.Join(dir, "pebble.json")
	writeFile(t, file, string(b))
	cmd := exec.Command(os.Getenv("XDERP_PEBBLE"), "-config", file, "-dnsserver", dns)
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log := new(logBuffer)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("pebble:\n%s", log)
		}
	})
	p.url = "https://" + p.url + "/dir"
	until(t, "pebble to answer", func() bool {
		resp, err := p.client().Get(p.url)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil
	})
	return p
}

func (p *pebble) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: caPool()}}}
}

// roots is the CA's root certificate.
func (p *pebble) roots(t testing.TB) *x509.CertPool {
	t.Helper()
	resp, err := p.client().Get("https://" + p.manage + "/roots/0")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		t.Fatalf("no root: %s", b)
	}
	return pool
}

// xderpACME runs the script that is installed as xderp-acme.
func (s *server) xderpACME(t testing.TB, p *pebble, env []string, args ...string) (string, error) {
	t.Helper()
	b, err := os.ReadFile("../../dist/xderp-acme")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(s.dir, "xderp-acme")
	b = bytes.ReplaceAll(b, []byte("@bindir@"), []byte(filepath.Dir(serverPath)))
	if err := os.WriteFile(script, b, 0700); err != nil {
		t.Fatal(err)
	}
	// A dozen curls and two waits of pebble's: more than one wait's worth on a busy machine.
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, script, args...)
	cmd.Env = append(os.Environ(), "XDERP_SOCKET="+s.socket, "XDERP_ACME_STATE="+filepath.Join(s.dir, "state"),
		"XDERP_ACME_CA="+p.url, "CURL_CA_BUNDLE="+rootFile())
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func needACME(t testing.TB) {
	t.Helper()
	needXderp(t, "its own ACME client asks for port 80")
	if os.Getenv("XDERP_PEBBLE") == "" {
		t.Skip("XDERP_PEBBLE is not set")
	}
	if _, err := exec.LookPath("dehydrated"); err != nil {
		t.Skip(err)
	}
}

// startLetsEncrypt is a relay on port 443 with an empty -certdir.
func startLetsEncrypt(t *testing.T, certdir string) *server {
	t.Helper()
	s := newServer(t, opts{mode: tlsName, control: true, args: append([]string{"-certmode", "letsencrypt", "-certdir", certdir, "-hostname", testName,
		"--acme-dir", filepath.Join(shortDir(t), "a", "b"), "-acme-email", "it's@example.test"}, fastPoll...)})
	os.Chmod(filepath.Dir(filepath.Dir(s.args[len(s.args)-4])), 0755)
	s.addr = "127.0.0.1:443"
	if err := s.run(); err != nil {
		t.Fatalf("server did not start: %v\n%s", err, s.log)
	}
	t.Cleanup(func() { s.finish(t) })
	return s
}

// A relay without a certificate, and a CA that finds it; nil where there is no network to have for oneself.
func startACME(t *testing.T, certdir string, externalAccount bool) (*server, *pebble, *dnsZone) {
	needACME(t)
	if !ownNetwork(t) {
		return nil, nil, nil
	}
	s := startLetsEncrypt(t, certdir)
	dns := startDNS(t, "127.0.0.1:0", map[string][]string{testName + " A": {"127.0.0.1"}})
	return s, startPebble(t, portOf(s.httpAddr), dns.addr, externalAccount), dns
}

// A relay with -certmode letsencrypt and no certificate comes up and says what to do; xderp-acme gets one from a CA, which
// asks the relay, and the relay takes it; then a renewal, under connected clients. derper's cache is used if there is one.
func TestACMEIssueAndRenew(t *testing.T) {
	certdir := t.TempDir()
	s, ca, _ := startACME(t, certdir, false)
	if s == nil {
		return
	}
	roots := ca.roots(t)

	if log := s.log.String(); !strings.Contains(log, "event=no_certificate") || !strings.Contains(log, "xderp-acme") {
		t.Errorf("it does not say what to do:\n%s", log)
	}
	if c, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, ServerName: testName}); err == nil {
		c.Close()
		t.Error("a handshake without a certificate")
	}
	if out := s.ctl(t, "status"); !strings.Contains(out, "none yet") {
		t.Errorf("status: %s", out)
	}
	s.cmd.Process.Signal(syscall.SIGHUP) // nothing to take, nothing to lose
	until(t, "the reload", func() bool { return strings.Contains(s.log.String(), "event=reloaded") })
	for path, status := range map[string]int{"token": 404, "": 404, "..%2fx": 404, "a/b": 404} {
		if a := askOn(t, dialTCP(t, s.httpAddr), "GET", request("GET", "/.well-known/acme-challenge/"+path)); a.status != status {
			t.Errorf("challenge %q: %v", path, a)
		}
	}

	serves := func() string {
		c, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: roots, ServerName: testName})
		if err != nil {
			return err.Error()
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	issue := func(args ...string) string {
		t.Helper()
		out, err := s.xderpACME(t, ca, nil, args...)
		if err != nil {
			t.Fatalf("xderp-acme: %v\n%s", err, out)
		}
		want := readCert(t, filepath.Join(certdir, testName+".crt")).SerialNumber.String()
		until(t, "the relay to take the certificate; it has "+serves(), func() bool { return serves() == want })
		return want
	}
	first := issue()
	if fi, err := os.Stat(filepath.Join(certdir, testName+".key")); err != nil || fi.Mode().Perm() != 0600 {
		t.Errorf("key file: %v %v", fi, err)
	}
	client := func() *raw {
		r := newRaw(t, s, s.secure(t, s.tcp(t), &tls.Config{RootCAs: roots, ServerName: testName}))
		if err := r.upgrade(); err != nil {
			t.Fatal(err)
		}
		if err := r.login(key.NewNode(), infoUsual); err != nil {
			t.Fatal(err)
		}
		return r
	}
	a, b := client(), client()
	deliver(a, b)
	if again := issue(); again != first {
		t.Error("renewed long before the end")
	}
	if renewed := issue("--force"); renewed == first {
		t.Error("not renewed")
	}
	deliver(a, b)
	deliver(client(), a)
	m := s.ctl(t, "status")
	if strings.Contains(m, "none yet") || strings.Contains(m, "waiting") {
		t.Errorf("status: %s", m)
	}
	if left, _ := os.ReadDir(s.args[len(s.args)-4]); len(left) != 0 {
		t.Errorf("challenges left behind: %v", left)
	}

	// derper keeps both in one file without an extension.
	s.stop(t)
	pk, _ := os.ReadFile(filepath.Join(certdir, testName+".key"))
	crt, _ := os.ReadFile(filepath.Join(certdir, testName+".crt"))
	cache := t.TempDir()
	writeFile(t, filepath.Join(cache, testName), string(pk)+string(crt))
	s = startLetsEncrypt(t, cache)
	if got := serves(); got != readCert(t, filepath.Join(certdir, testName+".crt")).SerialNumber.String() {
		t.Errorf("derper's cache is not used: %s", got)
	}
}

// A CA that wants an external account, and what goes wrong before the CA is asked.
func TestACMEExternalAccount(t *testing.T) {
	certdir := t.TempDir()
	s, ca, dns := startACME(t, certdir, true)
	if s == nil {
		return
	}
	if out, err := s.xderpACME(t, ca, nil); err == nil || !strings.Contains(out, "EAB_KID") {
		t.Errorf("without an account: %v\n%s", err, out)
	}
	account := []string{"EAB_KID=kid-1", "EAB_HMAC_KEY=zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"}
	if out, err := s.xderpACME(t, ca, account); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if _, err := os.Stat(filepath.Join(certdir, testName+".crt")); err != nil {
		t.Error(err)
	}
	// The CA's questions go nowhere: the old certificate stays.
	dns.set(testName+" A", "127.0.0.2")
	if out, err := s.xderpACME(t, ca, account, "--force", "--force-validation"); err == nil {
		t.Errorf("validated elsewhere:\n%s", out)
	}
	readCert(t, filepath.Join(certdir, testName+".crt"))
	out, err := s.xderpACME(t, ca, []string{"XDERP_SOCKET=" + s.dir + "/none"})
	if err == nil || !strings.Contains(out, "the relay must run") {
		t.Errorf("without a relay: %v\n%s", err, out)
	}
	manual := start(t, opts{mode: tlsName, control: true})
	if out, err := manual.xderpACME(t, ca, nil); err == nil || !strings.Contains(out, "the relay answers no challenges") {
		t.Errorf("without --acme-dir: %v\n%s", err, out)
	}
}
