// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
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
)

// settings are those in use, by name.
func (s *server) settings(t testing.TB) map[string]string {
	t.Helper()
	var v struct {
		Settings []struct{ Name, Value string }
	}
	if err := json.Unmarshal([]byte(s.ctlAsk(t, `{"command":"settings"}`)), &v); err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, x := range v.Settings {
		m[x.Name] = x.Value
	}
	return m
}

type reloadAnswer struct {
	Error           string
	Changed, Faults []string
}

func (s *server) reload(t testing.TB) (a reloadAnswer) {
	t.Helper()
	if err := json.Unmarshal([]byte(s.ctlAsk(t, `{"command":"reload"}`)), &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func differing(a, b map[string]string) (names []string) {
	for n := range a {
		if a[n] != b[n] {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return names
}

// withConfig is a server whose further settings are in a file, which is returned.
func withConfig(t testing.TB, o opts, text string) (*server, string) {
	t.Helper()
	file := filepath.Join(shortDir(t), "xderp.conf")
	writeFile(t, file, text)
	o.control = true
	o.args = append(o.args, "--config", file)
	return start(t, o), file
}

func TestConfigFile(t *testing.T) {
	needXderp(t, "configuration file")
	s, _ := withConfig(t, opts{args: []string{"--max-handshakes=77"}},
		"[limits]\nmax-handshakes = 88\nmax-connections = 99\n[web]\nhome = blank\n")
	set := s.settings(t)
	if set["max-handshakes"] != "77" || set["max-connections"] != "99" || set["a"] != s.addr {
		t.Error(set)
	}
	if a := s.ask(t, "GET", request("GET", "/")); a.status != 200 || strings.Contains(string(a.body), "DERP server") {
		t.Errorf("home page: %v", a)
	}
	out := s.ctl(t, "settings")
	if !strings.Contains(out, "\nmax-connections = 99\n") || !strings.Contains(out, "\na = "+s.addr+" ; *\n") {
		t.Error(out)
	}

	// What settings prints is a configuration file: the same relay comes of it.
	copied := filepath.Join(s.dir, "copy.conf")
	writeFile(t, copied, out)
	if b, err := exec.Command(serverPath, "--config", copied, "--check-config").CombinedOutput(); err != nil || !strings.Contains(string(b), "good") {
		t.Errorf("%v %s", err, b)
	}
}

func TestCheckConfig(t *testing.T) {
	needXderp(t, "configuration file")
	dir := t.TempDir()
	file := filepath.Join(dir, "x.conf")
	for _, c := range []struct {
		name, text string
		args       []string
		code       int
		say        string
	}{
		{"good", "a = :1\nc = k\n", nil, 0, "the settings are good: " + file},
		{"misspelt", "a = :1\nc = k\nhostnme = x\n", nil, 2, file + `:3: there is no setting "hostnme"; did you mean hostname?`},
		{"flags are checked, too", "a = :1\nc = k\n", []string{"-home=x"}, 2, "-home"},
		{"refused", "a = :1\nc = k\nacme-eab-kid = x\n", nil, 2, file + ":3: acme-eab-kid=x is not supported"},
	} {
		t.Run(c.name, func(t *testing.T) {
			writeFile(t, file, c.text)
			cmd := exec.CommandContext(within(t), serverPath, append(c.args, "--config", file, "--check-config")...)
			cmd.Env = append(os.Environ(), "HOME="+dir)
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.say) {
				t.Errorf("exit %d, want %d: %s", code, c.code, out)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(dir, "k")); err == nil {
		t.Error("a check made a key file")
	}
}

func TestReloadSettings(t *testing.T) {
	needXderp(t, "SIGHUP kills it")
	s, file := withConfig(t, opts{mode: tlsName}, "max-connections = 3\n")
	a, b := s.client(t), s.client(t)
	deliver(a, b)

	// More room: the table grows with clients in it, and clients come that had no place before.
	writeFile(t, file, "max-connections = 5000\n")
	if r := s.reload(t); r.Error != "" || !slices.Equal(r.Changed, []string{"max-connections"}) {
		t.Fatalf("%+v", r)
	}
	var more []*raw
	for range 300 {
		more = append(more, s.client(t))
	}
	deliver(a, b)
	deliver(more[0], more[299])

	// Less than there are: they stay, nobody else comes.
	writeFile(t, file, "max-connections = 1\n")
	if r := s.reload(t); r.Error != "" {
		t.Fatalf("%+v", r)
	}
	deliver(a, b)
	deliver(more[299], more[0])
	if n, err := dialTCP(t, s.addr).Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes over the limit", n)
	}

	// By SIGHUP; what is denied now is closed.
	writeFile(t, file, "max-connections = 5000\ndeny = 192.0.2.0/24,\n 127.0.0.0/8\n")
	s.cmd.Process.Signal(syscall.SIGHUP)
	a.wantClosed()
	more[7].wantClosed()

	// What can't change is refused together with what could; so is all if the certificate is bad.
	wantNothing := func(say string) {
		t.Helper()
		before := s.settings(t)
		_, errs, code := s.ctlRun(t, "reload")
		if code != 1 || !strings.Contains(errs, say) || !strings.Contains(errs, "nothing was changed") {
			t.Errorf("exit %d, want 1 and %q: %s", code, say, errs)
		}
		if d := differing(before, s.settings(t)); d != nil {
			t.Errorf("changed all the same: %v", d)
		}
	}
	writeFile(t, file, "max-connections = 6000\ntcp-user-timeout = 9s\n")
	wantNothing("tcp-user-timeout can't change while the relay runs")
	writeFile(t, file, "max-connections = 6000\n")
	crt := filepath.Join(s.dir, testName+".crt")
	good, err := os.ReadFile(crt)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, crt, "garbage")
	wantNothing(crt)
	writeFile(t, crt, string(good))
	if out := s.ctl(t, "reload"); out != "reloaded; changed: max-connections deny\n" {
		t.Error(out)
	}
	deliver(s.client(t), s.client(t))
}

const mutable = `; what may change while the relay runs
[limits]
max-connections = 2000
max-handshakes = 1000
max-connections-per-key = 16
max-unknown-frame = 1MiB
queue-memory = 64MiB
send-queue-depth = 32
accept-connection-limit = 1000
accept-connection-burst = 2000

[web]
home = https://example.org/
debug-cidrs = 10.0.0.0/8,
	fd00::/8
deny = 2001:db8::/32

[others]
derp = true
drain-timeout = 3s
notsent-lowat = 64KiB
pace = 50us
log-level = info
tcp-keepalive-time = 1m30s
`

// mutate makes one to three changes of the kind that fingers and disks make.
func mutate(rng *rand.Rand, text string) string {
	b := []byte(text)
	lines := strings.SplitAfter(text, "\n")
	for range 1 + rng.IntN(3) {
		i := rng.IntN(len(b))
		switch rng.IntN(8) {
		case 0:
			b[i] ^= 1 << rng.IntN(8)
		case 1:
			b = slices.Delete(b, i, i+1)
		case 2:
			b = slices.Insert(b, i, byte(rng.IntN(256)))
		case 3:
			b = b[:i+1] // torn
		case 4:
			b = append(b, lines[rng.IntN(len(lines))]...) // twice
		case 5:
			b = append(b, "shards = 9\n"...)
		case 6:
			b[i] = byte('0' + rng.IntN(10))
		case 7:
			b = slices.Insert(b, i, slices.Repeat([]byte("x"), rng.IntN(300))...)
		}
		if len(b) == 0 {
			b = []byte("\n")
		}
	}
	return string(b)
}

// timerOf is what /proc/net/tcp shows of the relay's end of c: "00" none, "01" something is not acknowledged yet, "02" keepalive.
func timerOf(t testing.TB, s *server, c net.Conn) string {
	t.Helper()
	mine := fmt.Sprintf(":%04X", c.LocalAddr().(*net.TCPAddr).Port)
	_, port, _ := net.SplitHostPort(s.addr)
	n, _ := strconv.Atoi(port)
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, _ := os.ReadFile(name)
		for _, line := range strings.Split(string(text), "\n") {
			f := strings.Fields(line)
			if len(f) > 5 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", n)) && strings.HasSuffix(f[2], mine) {
				return f[5][:2]
			}
		}
	}
	t.Fatal("the relay has no such connection")
	return ""
}

func hasKeepalive(t testing.TB, s *server, c net.Conn) bool {
	t.Helper()
	until(t, "all is acknowledged", func() bool { return timerOf(t, s, c) != "01" })
	return timerOf(t, s, c) == "02"
}

// Connections have the options of their listener, which a reload changes.
func TestReloadKeepalive(t *testing.T) {
	needXderp(t, "SIGHUP kills it")
	s, file := withConfig(t, opts{mode: plain}, "")
	connect := func() net.Conn {
		c := dialTCP(t, s.addr)
		fmt.Fprintf(c, "GET /generate_204 HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			t.Fatal(err)
		}
		return c
	}
	before := connect()
	if !hasKeepalive(t, s, before) {
		t.Error("no keepalive by default")
	}
	writeFile(t, file, "tcp-keepalive-time = 0\n")
	if r := s.reload(t); r.Error != "" || !slices.Equal(r.Changed, []string{"tcp-keepalive-time"}) {
		t.Fatalf("%+v", r)
	}
	if hasKeepalive(t, s, connect()) {
		t.Error("keepalive of a connection that came after it was switched off")
	}
	if !hasKeepalive(t, s, before) {
		t.Error("a reload took the keepalive of a connection that was open")
	}
}

// TestReloadMutatedConfigs reloads a thousand damaged configuration files while clients exchange packets: a file that is
// refused leaves every setting as it was, one that is taken changes what it says it changes, and no client notices.
func TestReloadMutatedConfigs(t *testing.T) {
	needXderp(t, "configuration file")
	s, file := withConfig(t, opts{mode: tlsName}, mutable)
	var stop atomic.Bool
	var delivered atomic.Int64
	var pairs sync.WaitGroup
	for range 4 {
		a, b := s.client(t), s.client(t)
		pairs.Go(func() {
			for !stop.Load() && !t.Failed() {
				deliver(a, b)
				deliver(b, a)
				delivered.Add(2)
			}
		})
	}
	rng := rand.New(rand.NewPCG(7, 7))
	now := s.settings(t)
	n := envInt("XDERP_RELOADS", 1000)
	refused, taken := 0, 0
	for i := range n {
		text := mutate(rng, mutable)
		writeFile(t, file, text)
		if i%10 == 9 {
			s.cmd.Process.Signal(syscall.SIGHUP) // before, after or together with the other one
			now = s.settings(t)
		}
		r := s.reload(t)
		next := s.settings(t)
		diff := differing(now, next)
		slices.Sort(r.Changed)
		switch {
		case r.Error != "" && diff != nil:
			t.Fatalf("file %d was refused (%v), but these changed: %v\n%s", i, r.Faults, diff, text)
		case r.Error != "" && len(r.Faults) == 0:
			t.Fatalf("file %d was refused without a word\n%s", i, text)
		case r.Error == "" && i%10 != 9 && !slices.Equal(diff, r.Changed):
			t.Fatalf("file %d changed %v, but says %v\n%s", i, diff, r.Changed, text)
		case r.Error == "":
			taken++
		default:
			refused++
			if !strings.HasPrefix(r.Faults[0], file+":") && !strings.HasPrefix(r.Faults[0], "xderpd: ") {
				t.Fatalf("file %d: %q does not say where", i, r.Faults[0])
			}
		}
		now = maps.Clone(next)
	}
	stop.Store(true)
	pairs.Wait()
	t.Logf("%d files refused, %d taken, %d packets delivered meanwhile", refused, taken, delivered.Load())
	if refused < n/4 || taken < n/20 || delivered.Load() == 0 {
		t.Error("too few of a kind to mean anything")
	}
	writeFile(t, file, mutable)
	if r := s.reload(t); r.Error != "" {
		t.Errorf("%+v", r)
	}
	deliver(s.client(t), s.client(t))
	var st ctlStatus
	s.ctlJSON(t, &st, "status")
	if st.Totals["packets_dropped"] != 0 || st.Totals["clients"] != 10 {
		t.Errorf("totals: %v", st.Totals)
	}
}
