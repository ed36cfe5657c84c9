// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// tryLogin is whether a key may log in.
func (s *server) tryLogin(t testing.TB, priv key.NodePrivate, info string) bool {
	t.Helper()
	r := s.upgrade(t)
	defer r.c.Close()
	err := r.login(priv, info)
	if err != nil && err != io.EOF && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("login: %v", err)
	}
	return err == nil
}

// says waits until the log has a text.
func (s *server) says(t testing.TB, text string) {
	t.Helper()
	until(t, "the log to say "+text, func() bool { return strings.Contains(s.log.String(), text) })
}

// verifier is the other end of -verify-client-url: answer says what each key gets.
type verifier struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []string
	answer func(w http.ResponseWriter, key string)
}

func newVerifier(t testing.TB, answer func(w http.ResponseWriter, key string)) *verifier {
	v := &verifier{answer: answer}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct{ NodePublic, Source string }
		body, _ := io.ReadAll(r.Body)
		err := json.Unmarshal(body, &q)
		if r.Method != "POST" || r.URL.Path != "/verify" || r.URL.RawQuery != "a=b" || err != nil || q.Source != "127.0.0.1" ||
			r.Header.Get("Content-Type") != "" || string(body) != fmt.Sprintf(`{"NodePublic":"%s","Source":"127.0.0.1"}`, q.NodePublic) {
			t.Errorf("asked %s %s %s %v", r.Method, r.URL, body, r.Header)
		}
		v.mu.Lock()
		v.asked = append(v.asked, q.NodePublic)
		v.mu.Unlock()
		v.answer(w, q.NodePublic)
	}))
	t.Cleanup(v.Close)
	return v
}

func (v *verifier) flag() string { return "-verify-client-url=" + v.URL + "/verify?a=b" }

func text(k key.NodePrivate) string { b, _ := k.Public().MarshalText(); return string(b) }

// What a URL may answer, and what that means.
func TestVerifyURL(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		allow  bool
		label  string
	}{
		{"allow", func(w http.ResponseWriter) { io.WriteString(w, `{"Allow":true}`) }, true, "allowed"},
		{"any case, more fields", func(w http.ResponseWriter) { io.WriteString(w, ` {"x":1,"allow":true} trailing`) }, true, "allowed"},
		{"chunked", func(w http.ResponseWriter) {
			io.WriteString(w, `{"Allow":`)
			w.(http.Flusher).Flush()
			io.WriteString(w, `true}`)
		}, true, "allowed"},
		{"deny", func(w http.ResponseWriter) { io.WriteString(w, `{"Allow":false}`) }, false, "url"},
		{"no field", func(w http.ResponseWriter) { io.WriteString(w, `{}`) }, false, "url"},
		{"no JSON", func(w http.ResponseWriter) { io.WriteString(w, `yes`) }, false, "url"},
		{"not found", func(w http.ResponseWriter) { w.WriteHeader(404); io.WriteString(w, `{"Allow":true}`) }, false, "url"},
		{"server error", func(w http.ResponseWriter) { w.WriteHeader(500) }, false, "url"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := newVerifier(t, func(w http.ResponseWriter, _ string) { c.answer(w) })
			s := start(t, opts{mesh: true, args: []string{v.flag()}})
			k := key.NewNode()
			if got := s.tryLogin(t, k, infoUsual); got != c.allow {
				t.Errorf("allowed %v", got)
			}
			if len(v.asked) != 1 || v.asked[0] != text(k) {
				t.Errorf("asked about %v", v.asked)
			}
			if !s.tryLogin(t, key.NewNode(), infoMesh) || len(v.asked) != 1 {
				t.Errorf("a mesh client was verified")
			}
			if isXderp() {
				s.wantMetrics(t, map[string]float64{`xderp_admissions_total|"` + c.label + `"`: 1, "xderp_admissions_total": 1})
			}
			if !c.allow {
				s.says(t, "rejected")
			}
		})
	}
}

// A URL that can't be reached: fail-open decides.
func TestVerifyURLUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "-verify-client-url=http://" + l.Addr().String() + "/verify"
	l.Close()
	for _, c := range []struct {
		flag  string
		allow bool
	}{{"-verify-client-url-fail-open", true}, {"-verify-client-url-fail-open=false", false}} {
		s := start(t, opts{args: []string{url, c.flag}})
		if got := s.tryLogin(t, key.NewNode(), infoUsual); got != c.allow {
			t.Errorf("%s: allowed %v", c.flag, got)
		}
	}
}

// TLS towards the URL: the certificate counts.
func TestVerifyURLOverTLS(t *testing.T) {
	needXderp(t, "tested by its makers")
	dir := t.TempDir()
	writeServerCert(dir, "localhost")
	v := newVerifier(t, func(w http.ResponseWriter, _ string) { io.WriteString(w, `{"Allow":true}`) })
	front := httptest.NewUnstartedServer(v.Config.Handler)
	front.StartTLS() // with a certificate of nobody's
	defer front.Close()
	s := start(t, opts{args: []string{"-verify-client-url=" + front.URL + "/verify?a=b", "-verify-client-url-fail-open=false"}})
	if s.tryLogin(t, key.NewNode(), infoUsual) {
		t.Errorf("took any certificate:\n%s", s.log)
	}
	s.says(t, "TLS failed")

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: v.Config.Handler}
	go srv.ServeTLS(l, filepath.Join(dir, "localhost.crt"), filepath.Join(dir, "localhost.key"))
	defer srv.Close()
	s = start(t, opts{args: []string{"-verify-client-url=https://localhost:" + portOf(l.Addr().String()) + "/verify?a=b", "-verify-client-url-fail-open=false"}})
	if !s.tryLogin(t, key.NewNode(), infoUsual) {
		t.Errorf("refused:\n%s", s.log)
	}
}

// One key's verification hangs: the others log in, those logged in are served; the hanging one is decided by fail-open. What a
// client sends before its verdict is kept, in order, and served after it.
func TestVerifierHangs(t *testing.T) {
	bad := key.NewNode()
	release := make(chan bool)
	v := newVerifier(t, func(w http.ResponseWriter, k string) {
		if k == text(bad) {
			<-release
		}
		io.WriteString(w, `{"Allow":true}`)
	})
	defer close(release)
	s := start(t, opts{mode: tlsName, args: []string{v.flag()}})
	others := s.pair(t)
	const n = 100
	r := s.upgrade(t)
	r.priv, r.pub = bad, bad.Public()
	early := clientInfo(bad, r.serverKey, infoUsual)
	for i := range uint64(30) {
		early = append(early, encode(fSendPacket, others.a.pub.AppendTo(nil), payload(5, i, 20000))...)
	}
	go r.c.Write(early)
	for range n {
		others.relays()
		if !s.tryLogin(t, key.NewNode(), infoUsual) {
			t.Fatal("another was refused")
		}
	}
	others.a.quiet() // nothing of the hanging one yet
	release <- true
	if err := r.serverInfo(); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(30) {
		others.a.wantPacket(r.pub, payload(5, i, 20000))
	}
	deliver(others.a, r)
	deliver(r, others.a)
}

// A verifier that never answers anybody is given up after 5 s, and fail-open decides.
func TestVerifierNeverAnswers(t *testing.T) {
	needTime(t)
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := "-verify-client-url=http://" + l.Addr().String() + "/verify"
	open := start(t, opts{args: []string{url}})
	shut := start(t, opts{args: []string{url, "-verify-client-url-fail-open=false"}})
	got := make(chan bool)
	for range 10 {
		go func() { got <- open.tryLogin(t, key.NewNode(), infoUsual) }()
		go func() { got <- !shut.tryLogin(t, key.NewNode(), infoUsual) }()
	}
	for range 20 {
		if !<-got {
			t.Error("decided the wrong way")
		}
	}
	if isXderp() {
		open.wantMetrics(t, map[string]float64{`xderp_admissions_total|"fail_open"`: 10, "xderp_conns_verifying": 0})
		shut.wantMetrics(t, map[string]float64{`xderp_admissions_total|"url_error"`: 10, "xderp_conns_verifying": 0})
	}
}

// More than are verified at a time wait their turn, and leave it if they go.
func TestVerifyMany(t *testing.T) {
	v := newVerifier(t, func(w http.ResponseWriter, _ string) {
		time.Sleep(20 * time.Millisecond)
		io.WriteString(w, `{"Allow":true}`)
	})
	args := []string{v.flag()}
	if isXderp() {
		args = append(args, "--max-verifications=4")
	}
	s := start(t, opts{args: args})
	ok := make(chan bool)
	for i := range 60 {
		go func() {
			if i%3 == 0 { // goes away at once
				r := s.upgrade(t)
				r.c.Write(clientInfo(key.NewNode(), r.serverKey, infoUsual))
				r.c.Close()
				ok <- true
				return
			}
			ok <- s.tryLogin(t, key.NewNode(), infoUsual)
		}()
	}
	for range 60 {
		if !<-ok {
			t.Error("refused")
		}
	}
	until(t, "all connections to be gone", func() bool { return s.varz(t).value("derp_current_connections") == 0 })
}

// fakeTailscaled answers whois on a UNIX socket.
func fakeTailscaled(t testing.TB, answer func(w http.ResponseWriter, addr string)) (path string, stop func() error) {
	path = filepath.Join(t.TempDir(), "tailscaled.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	// As tailscaled's is: everybody may connect.
	os.Chmod(path, 0666)
	os.Chmod(filepath.Dir(filepath.Dir(path)), 0755)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/localapi/v0/whois" || r.Host != "local-tailscaled.sock" || r.Header.Get("Tailscale-Cap") == "" ||
			!strings.HasPrefix(r.URL.RawQuery, "addr=nodekey%3A") {
			t.Errorf("asked %s %s%s %v", r.Method, r.Host, r.URL, r.Header)
		}
		answer(w, r.URL.Query().Get("addr"))
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return path, srv.Close
}

func TestVerifyByTailscaled(t *testing.T) {
	known := key.NewNode()
	path, stop := fakeTailscaled(t, func(w http.ResponseWriter, addr string) {
		if addr == text(known) {
			io.WriteString(w, `{"Node":{"ID":1,"Key":"`+addr+`"},"UserProfile":{"ID":1},"CapMap":{"pad":["`+strings.Repeat("x", 50000)+`"]}}`)
			return
		}
		http.Error(w, "no match for IP:port", 404)
	})
	s := start(t, opts{mesh: true, args: []string{"-verify-clients", "-socket", path}})
	if !s.tryLogin(t, known, infoUsual) {
		t.Error("a node of the tailnet was refused")
	}
	if s.tryLogin(t, key.NewNode(), infoUsual) {
		t.Error("a stranger was let in")
	}
	if !s.tryLogin(t, key.NewNode(), infoMesh) {
		t.Error("a mesh client was verified")
	}
	if isXderp() {
		s.wantMetrics(t, map[string]float64{`xderp_admissions_total|"allowed"`: 1, `xderp_admissions_total|"tailscaled"`: 1,
			`xderp_connections_closed_total|"not_admitted"`: 1})
	}
	// No tailscaled, or an old one: nobody gets in, fail-open is the URL's alone.
	stop()
	if s.tryLogin(t, known, infoUsual) {
		t.Error("let in without tailscaled")
	}
	path, _ = fakeTailscaled(t, func(w http.ResponseWriter, addr string) { http.Error(w, "invalid 'addr' parameter", 400) })
	s = start(t, opts{args: []string{"-verify-clients", "-socket", path}})
	if s.tryLogin(t, known, infoUsual) {
		t.Errorf("an old tailscaled:\n%s", s.log)
	}
	s.says(t, "too old")
}

// Where both are set, both must agree.
func TestVerifyBoth(t *testing.T) {
	a, b, both := key.NewNode(), key.NewNode(), key.NewNode()
	path, _ := fakeTailscaled(t, func(w http.ResponseWriter, addr string) {
		if addr == text(b) {
			w.WriteHeader(404)
			return
		}
		io.WriteString(w, `{"Node":{},"UserProfile":{}}`)
	})
	v := newVerifier(t, func(w http.ResponseWriter, k string) { fmt.Fprintf(w, `{"Allow":%v}`, k != text(a)) })
	s := start(t, opts{args: []string{"-verify-clients", "-socket", path, v.flag()}})
	if s.tryLogin(t, a, infoUsual) || s.tryLogin(t, b, infoUsual) || !s.tryLogin(t, both, infoUsual) {
		t.Error("one was enough, or both were not")
	}
}

// --allow-keys: who is in the file; a new one on SIGHUP, a bad one changes nothing; who is logged in stays.
func TestAllowKeys(t *testing.T) {
	needXderp(t, "has no such list")
	a, b := key.NewNode(), key.NewNode()
	file := filepath.Join(t.TempDir(), "keys")
	writeFile(t, file, "# people\n"+text(a)+" alice\n")
	s := start(t, opts{mesh: true, args: []string{"--allow-keys", file}})
	in := s.clientAs(t, a, infoUsual)
	if s.tryLogin(t, b, infoUsual) {
		t.Error("a key that is not listed was let in")
	}
	s.says(t, "client_rejected key="+text(b))
	if !s.tryLogin(t, key.NewNode(), infoMesh) {
		t.Error("a mesh client needs no entry")
	}
	writeFile(t, file, text(b)+"\n")
	s.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the new list", func() bool { return s.tryLogin(t, b, infoUsual) })
	if s.tryLogin(t, a, infoUsual) {
		t.Error("the old list still counts")
	}
	in.sync()

	writeFile(t, file, "nodekey:oops\n")
	s.cmd.Process.Signal(syscall.SIGHUP)
	s.says(t, "event=reload_failed")
	s.says(t, "line 1")
	if !s.tryLogin(t, b, infoUsual) || s.tryLogin(t, a, infoUsual) {
		t.Error("a bad file changed something")
	}
	bad := newServer(t, opts{args: []string{"--allow-keys", file}})
	wantNoStart(t, bad, "line 1")
	bad = newServer(t, opts{args: []string{"--allow-keys", file + ".not"}})
	wantNoStart(t, bad, "no such file")
	bad = newServer(t, opts{args: []string{"-verify-client-url=ftp://x/"}})
	wantNoStart(t, bad, "verify-client-url")
}
