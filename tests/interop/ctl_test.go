// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ctlRun runs xderpctl, which lies beside the server under test, against its socket.
func (s *server) ctlRun(t testing.TB, args ...string) (out, errs string, code int) {
	t.Helper()
	path := filepath.Join(filepath.Dir(serverPath), "xderpctl")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no xderpctl beside the server: %v", err)
	}
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(within(t), path, append([]string{"--socket", s.socket}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"Sanitizer", "runtime error:"} {
		if strings.Contains(stderr.String(), bad) {
			t.Errorf("xderpctl: %s", stderr.String())
		}
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// ctl wants a command to succeed and returns what it said.
func (s *server) ctl(t testing.TB, args ...string) string {
	t.Helper()
	out, errs, code := s.ctlRun(t, args...)
	if code != 0 {
		t.Fatalf("xderpctl %v: exit %d: %s", args, code, errs)
	}
	return out
}

// ctlJSON is ctl with --json, decoded.
func (s *server) ctlJSON(t testing.TB, to any, args ...string) {
	t.Helper()
	out := s.ctl(t, append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), to); err != nil {
		t.Fatalf("xderpctl %v: %v in %s", args, err, out)
	}
}

type ctlStatus struct {
	Version   string
	Pid       int
	PublicKey string `json:"public_key"`
	TLS       bool
	NotAfter  int64 `json:"certificate_not_after"`
	Totals    map[string]int64
	Shards    []map[string]any
	Features  []struct{ Name, State, Reason string }
}

func (st *ctlStatus) feature(name string) string {
	for _, f := range st.Features {
		if f.Name == name {
			return f.State
		}
	}
	return "not there"
}

func TestControlStatus(t *testing.T) {
	needXderp(t, "control socket")
	s := start(t, opts{mode: tlsName, control: true})
	for range 3 {
		s.client(t)
	}
	var st ctlStatus
	s.ctlJSON(t, &st, "status")
	if st.Pid != s.cmd.Process.Pid || st.PublicKey != s.pub.String() || !st.TLS || st.Version == "" {
		t.Errorf("%+v", st)
	}
	if left := time.Until(time.Unix(st.NotAfter, 0)); left < 0 || left > 1000*24*time.Hour {
		t.Errorf("certificate ends in %v", left)
	}
	if st.Totals["clients"] != 3 || st.Totals["keys"] != 3 {
		t.Errorf("totals: %v", st.Totals)
	}
	clients := 0.0
	for _, sh := range st.Shards {
		clients += sh["clients"].(float64)
	}
	if clients != 3 {
		t.Errorf("shards: %v", st.Shards)
	}
	for name, want := range map[string]string{"tls": "on", "control": "on", "mesh": "off", "http": "on", "stun": "on"} {
		if got := st.feature(name); got != want {
			t.Errorf("feature %s: %s, want %s", name, got, want)
		}
	}
	for _, want := range []string{s.pub.String(), "3 with 3 keys", "feature", "-mesh-psk-file", "certificate  ends"} {
		if out := s.ctl(t, "status"); !strings.Contains(out, want) {
			t.Errorf("status lacks %q:\n%s", want, out)
		}
	}
}

func TestControlUsage(t *testing.T) {
	needXderp(t, "control socket")
	s := start(t, opts{control: true})
	for _, c := range []struct {
		args []string
		code int
		say  string
	}{
		{[]string{}, 2, "a command is needed"},
		{[]string{"sttus"}, 2, `no command "sttus"`},
		{[]string{"status", "x"}, 2, "used like this: xderpctl status"},
		{[]string{"--jsn", "status"}, 2, "did you mean -json?"},
		{[]string{"--socket", "/nonexistent/s", "status"}, 3, "no relay answers at /nonexistent/s"},
		{[]string{"--socket", strings.Repeat("x", 200), "status"}, 3, "File name too long"},
	} {
		_, errs, code := s.ctlRun(t, c.args...)
		if code != c.code || !strings.Contains(errs, c.say) {
			t.Errorf("%v: exit %d, want %d; said %q, want %q", c.args, code, c.code, errs, c.say)
		}
	}
	if out := s.ctl(t, "--help"); !strings.Contains(out, "status") || !strings.Contains(out, "Exit status: 0 done") {
		t.Error(out)
	}
}

// ctlAsk sends a line to the control socket and reads its answer up to the end of the stream.
func (s *server) ctlAsk(t testing.TB, line string) string {
	t.Helper()
	c, err := net.Dial("unix", s.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "%s\n", line)
	var all strings.Builder
	if _, err := bufio.NewReader(c).WriteTo(&all); err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestControlBadRequests(t *testing.T) {
	needXderp(t, "control socket")
	s := start(t, opts{control: true})
	for _, c := range []struct{ line, say string }{
		{"", "not JSON"},
		{"{", "not JSON"},
		{`{"command":"status","command":"status"}`, "not JSON"},
		{strings.Repeat("[", 5000), "not JSON"},
		{"[]", "not an object with"},
		{"{}", "not an object with"},
		{`{"command":1}`, "not an object with"},
		{`{"command":"nonsense"}`, "has no command"},
		{strings.Repeat("x", 65536), "too long"},
	} {
		var v struct{ Error string }
		if err := json.Unmarshal([]byte(s.ctlAsk(t, c.line)), &v); err != nil || !strings.Contains(v.Error, c.say) {
			t.Errorf("%.40q: %q %v, want %q", c.line, v.Error, err, c.say)
		}
	}
	s.ctl(t, "status")
}

// Of two relays one gets the socket; a relay that was killed leaves one that the next replaces.
func TestControlSocketOwner(t *testing.T) {
	needXderp(t, "control socket")
	s := start(t, opts{control: true, dirty: true})
	second := newServer(t, opts{})
	second.socket = s.socket
	wantNoStart(t, second, "another relay answers at")
	s.stopped = true
	s.kill()
	if _, err := os.Stat(s.socket); err != nil {
		t.Fatalf("killed, so it could not clean up: %v", err)
	}
	third := newServer(t, opts{})
	third.socket = s.socket
	if err := third.run(); err != nil {
		t.Fatalf("%v\n%s", err, third.log)
	}
	defer third.finish(t)
	third.ctl(t, "status")
	third.stop(t)
	// Who dropped its privileges can't remove it from root's directory; the next one replaces it.
	if c, err := net.Dial("unix", s.socket); err == nil {
		c.Close()
		t.Error("somebody answers after SIGTERM")
	}
}

func TestControlOtherUser(t *testing.T) {
	needXderp(t, "control socket")
	if os.Getuid() != 0 {
		t.Skip("needs root to become somebody else")
	}
	s := start(t, opts{control: true})
	dir := filepath.Dir(s.socket)
	os.Chmod(dir, 0755)
	os.Chmod(s.socket, 0666) // as if somebody had opened it by mistake
	tool := filepath.Join(dir, "xderpctl")
	b, err := os.ReadFile(filepath.Join(filepath.Dir(serverPath), "xderpctl"))
	if err != nil {
		t.Skip(err)
	}
	if err := os.WriteFile(tool, b, 0755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t), tool, "--socket", s.socket, "status")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65533, Gid: 65533}}
	out, err := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(string(out), "only root and the user") {
		t.Errorf("exit %d: %s", code, out)
	}
}

type ctlDrops struct {
	Received int64 `json:"packets_received"`
	Packets  []struct {
		Reason       string
		Disco, Other int64
		DiscoBytes   int64 `json:"disco_bytes"`
		OtherBytes   int64 `json:"other_bytes"`
	}
	Connections []struct {
		Reason      string
		Connections int64
	}
	Logins []struct {
		Reason string
		Logins int64
	}
}

// closed is how many connections ended for a reason.
func (s *server) closed(t testing.TB, reason string) int64 {
	t.Helper()
	var d ctlDrops
	s.ctlJSON(t, &d, "drops")
	for _, c := range d.Connections {
		if c.Reason == reason {
			return c.Connections
		}
	}
	t.Fatalf("no close reason %s", reason)
	return 0
}

func TestControlDrops(t *testing.T) {
	needXderp(t, "control socket")
	s := start(t, opts{control: true})
	a, b := s.client(t), s.client(t)
	b.c.Close()
	until(t, "b's end", func() bool { return s.closed(t, "eof") >= 1 })
	for range 3 {
		a.sendTo(b.pub, make([]byte, 100))
	}
	a.sendTo(b.pub, discoPacket(70, 1))
	a.wantGone(b.pub, 1)
	var d ctlDrops
	s.ctlJSON(t, &d, "drops")
	if d.Received != 4 || d.Packets[0].Reason != "unknown_dest" {
		t.Fatalf("%+v", d)
	}
	if p := d.Packets[0]; p.Other != 3 || p.OtherBytes != 300 || p.Disco != 1 || p.DiscoBytes != 70 {
		t.Errorf("%+v", p)
	}
	if len(d.Logins) == 0 {
		t.Error("no reasons for refused logins")
	}
	if out := s.ctl(t, "drops"); !strings.Contains(out, "unknown_dest ") || !strings.Contains(out, "eof") {
		t.Error(out)
	}
}

func TestControlDeny(t *testing.T) {
	needXderp(t, "control socket")
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m, control: true, args: []string{"--deny", "192.0.2.0/24"}})
		a, b := s.client(t), s.client(t)
		deliver(a, b)

		s.ctl(t, "deny", "198.51.100.7", "2001:db8::/32")
		deliver(a, b)
		var l struct {
			Closed int64
			Denied []struct {
				Network string
				Setting bool
			}
		}
		s.ctlJSON(t, &l, "deny")
		if got := fmt.Sprint(l.Denied); got != "[{192.0.2.0/24 true} {198.51.100.7/32 false} {2001:db8::/32 false}]" {
			t.Error(got)
		}

		before := s.closed(t, "denied")
		s.ctlJSON(t, &l, "deny", "127.0.0.1/8")
		if l.Closed != 2 {
			t.Errorf("%d closed, want 2", l.Closed)
		}
		a.wantClosed()
		b.wantClosed()
		c := dialTCP(t, s.addr)
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes of a denied connection", n)
		}
		if n := s.closed(t, "denied") - before; n != 3 {
			t.Errorf("%d counted, want 3", n)
		}

		// What a wider network holds stays denied when a narrower one is allowed.
		s.ctl(t, "deny", "127.0.0.1")
		s.ctl(t, "allow", "127.0.0.1/32")
		if _, err := dialTCP(t, s.addr).Read(make([]byte, 1)); err == nil {
			t.Error("not denied any more")
		}
		s.ctl(t, "allow", "127.1.2.3/8")
		deliver(s.client(t), s.client(t))

		for _, bad := range []struct {
			args []string
			say  string
		}{
			{[]string{"deny", "198.51.100.8", "nonsense"}, `"nonsense" is no network`},
			{[]string{"allow", "127.0.0.0/8"}, "was not denied by xderpctl"},
			{[]string{"allow", "198.51.100.7", "192.0.2.0/24"}, "was not denied by xderpctl"},
		} {
			_, errs, code := s.ctlRun(t, bad.args...)
			if code != 1 || !strings.Contains(errs, bad.say) {
				t.Errorf("%v: exit %d, %s", bad.args, code, errs)
			}
		}
		s.ctlJSON(t, &l, "deny")
		if len(l.Denied) != 3 {
			t.Errorf("a refused command changed something: %v", l.Denied)
		}
	}
}

func TestControlDrain(t *testing.T) {
	needXderp(t, "control socket")
	s := start(t, opts{mode: tlsName, control: true})
	var all []*raw
	for range 5 {
		all = append(all, s.client(t))
	}
	done := make(chan string)
	go func() {
		out, _, code := s.ctlRun(t, "drain")
		done <- fmt.Sprintf("%d %s", code, out)
	}()
	for _, r := range all {
		r.want(fRestarting)
		r.wantClosed()
	}
	if got := <-done; !strings.HasPrefix(got, "0 draining 5 connections") {
		t.Error(got)
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		t.Fatal("runs on")
	}
	s.stopped = true
	if s.exitErr != nil {
		t.Error(s.exitErr)
	}
}

func TestControlPeers(t *testing.T) {
	needXderp(t, "control socket")
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m, control: true, mesh: true})
		a, b := s.client(t), s.client(t)
		for range 3 {
			deliver(a, b)
		}
		a.send(fNotePreferred, []byte{1})
		a.sync()
		mesh := s.meshClient(t)
		for range 300 { // more than a shard lists in one turn
			s.client(t)
		}
		out := s.ctl(t, "peers", "--json")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if lines[0] != `{"peers":303}` || len(lines) != 304 {
			t.Fatalf("%d lines, first %s", len(lines), lines[0])
		}
		type row struct {
			Key, Address, Transport string
			Home, Mesh              bool
			ConnectedAt             int64 `json:"connected_at"`
			PacketsIn               int64 `json:"packets_in"`
			PacketsOut              int64 `json:"packets_out"`
		}
		rows := map[string]row{}
		for _, l := range lines[1:] {
			var r row
			if err := json.Unmarshal([]byte(l), &r); err != nil {
				t.Fatal(err)
			}
			rows[r.Key] = r
		}
		ra, rb := rows[a.pub.String()], rows[b.pub.String()]
		if ra.PacketsIn != 3 || ra.PacketsOut != 0 || rb.PacketsIn != 0 || rb.PacketsOut != 3 {
			t.Errorf("%+v %+v", ra, rb)
		}
		if !ra.Home || rb.Home || ra.Mesh || !rows[mesh.pub.String()].Mesh {
			t.Errorf("flags: %+v %+v %+v", ra, rb, rows[mesh.pub.String()])
		}
		if ra.Address != a.c.LocalAddr().String() || (ra.Transport == "plain") != (m == plain) {
			t.Errorf("%+v, connected from %v", ra, a.c.LocalAddr())
		}
		if age := time.Since(time.Unix(ra.ConnectedAt, 0)); age < -time.Second || age > time.Hour {
			t.Errorf("connected %v ago", age)
		}
		if out := s.ctl(t, "peers"); !strings.Contains(out, "303 connections\n") || !strings.Contains(out, a.pub.String()+" ") {
			t.Error(out[:200])
		}
	}
}

func TestCompletion(t *testing.T) {
	needXderp(t, "control socket")
	s := start(t, opts{control: true})
	script := filepath.Join(s.dir, "completion")
	writeFile(t, script, s.ctl(t, "completion"))
	for _, c := range []struct{ words, want string }{
		{"xderpd --queue", "--queue-memory"},
		{"xderpd --io ''", "auto uring epoll"},
		{"xderpd --io u", "uring"},
		{"xderpd -log-level w", "warn"},
		{"xderpd --secrets", ""},
		{"xderpd --hostname x", ""},
		{"xderpctl dr", "drops drain"},
		{"xderpctl --js", "--json"},
		{"xderpctl status --so", "--socket"},
	} {
		f := "_" + strings.Fields(c.words)[0]
		out, err := exec.Command("bash", "-c", ". "+script+"; COMP_WORDS=("+c.words+"); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); "+f+`; echo "${COMPREPLY[*]}"`).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("%s: %q, want %q (%v)", c.words, got, c.want, err)
		}
	}
}

func TestControlCheck(t *testing.T) {
	needXderp(t, "control socket")
	args := []string{"--debug-cidrs=0.0.0.0/0"}
	if os.Getuid() == 0 {
		args = append(args, "--user=root") // who else may look at the keys
	}
	s := start(t, opts{mode: tlsName, control: true, mesh: true, args: args})
	type checks struct {
		Fails  int
		Checks []struct{ Check, State, Found, Fix string }
	}
	examine := func(want int) map[string]string {
		t.Helper()
		out, _, code := s.ctlRun(t, "check", "--json")
		var c checks
		if err := json.Unmarshal([]byte(out), &c); err != nil {
			t.Fatal(err)
		}
		if code != min(want, 1) || c.Fails != want || len(c.Checks) < 20 {
			t.Errorf("exit %d, %d of %d fail, want %d: %s", code, c.Fails, len(c.Checks), want, out)
		}
		m := map[string]string{}
		for _, x := range c.Checks {
			m[x.Check] = x.State
			if sick := x.State == "warn" || x.State == "fail"; sick != (x.Fix != "") || x.Found == "" {
				t.Errorf("%+v", x)
			}
		}
		return m
	}
	os.Chmod(filepath.Join(s.dir, testName+".key"), 0600)
	m := examine(0)
	for name, want := range map[string]string{"key_file": "ok", "mesh_key_file": "ok", "tls_key_file": "ok", "certificate_files": "ok",
		"debug_access": "warn", "stun": "ok", "limits": "ok"} {
		if m[name] != want {
			t.Errorf("%s: %s, want %s", name, m[name], want)
		}
	}
	os.Chmod(s.keyFile, 0644)
	crt := filepath.Join(s.dir, testName+".crt")
	writeFile(t, crt, "garbage")
	m = examine(2)
	if m["key_file"] != "fail" || m["certificate_files"] != "fail" {
		t.Error(m)
	}
	out, _, code := s.ctlRun(t, "check")
	if code != 1 || !strings.Contains(out, "-> chmod 600 the file of -c") || !strings.Contains(out, crt) {
		t.Errorf("exit %d: %s", code, out)
	}
}

// Where no relay runs: what a start with a configuration file would meet.
func TestControlCheckFile(t *testing.T) {
	needXderp(t, "xderpctl")
	s := newServer(t, opts{mode: tlsName, host: "127.0.0.1"})
	writeServerCert(s.dir, s.name)
	os.Chmod(filepath.Join(s.dir, testName+".key"), 0600)
	conf := filepath.Join(s.dir, "xderp.conf")
	file := func(hostname, more string) string {
		writeFile(t, conf, fmt.Sprintf("a = %s\nhttp-port = %s\nstun-port = %s\nc = %s\ncertmode = manual\ncertdir = %s\nhostname = %s\n%s", s.addr,
			portOf(s.httpAddr), portOf(s.stunAddr), s.keyFile, s.dir, hostname, more))
		return conf
	}
	check := func(want int, parts ...string) {
		t.Helper()
		out, errs, code := s.ctlRun(t, "check", conf)
		if code != want {
			t.Errorf("exit %d, want %d: %s%s", code, want, out, errs)
		}
		for _, p := range parts {
			if !regexp.MustCompile(p).MatchString(out + errs) {
				t.Errorf("no %s in %s%s", p, out, errs)
			}
		}
	}
	file(testName, "")
	check(0, "ok +ports +free", "ok +key_file +the first start makes", "ok +certificate_files", "io_uring")
	if _, err := os.Stat(s.keyFile); err == nil {
		t.Error("a check made the key file")
	}
	file("127.0.0.1", "")
	check(0, "ok +certificate_files +the first start makes a self-signed")
	if _, err := os.Stat(filepath.Join(s.dir, "127.0.0.1.crt")); err == nil {
		t.Error("a check made a certificate")
	}
	file("other.example.test", "")
	check(1, "fail +certificate_files +.*other.example.test.crt")
	for _, c := range []struct{ network, addr, flag string }{{"tcp", s.addr, "-a"}, {"tcp", s.httpAddr, "-http-port"}, {"udp", s.stunAddr, "-stun-port"}} {
		file(testName, "")
		busy := occupy(t, c.network, c.addr)
		check(1, "fail +ports +port "+portOf(c.addr)+" of "+c.flag+": Address already in use")
		busy.Close()
	}
	file(testName, "shards = many\n")
	check(1, ":8: .*shards")
}

func occupy(t testing.TB, network, addr string) io.Closer {
	t.Helper()
	var c io.Closer
	var err error
	if network == "udp" {
		c, err = net.ListenPacket(network, addr)
	} else {
		c, err = net.Listen(network, addr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Without privilege the certificate's key is looked at by the process that can still open it; the rest is not judged.
func TestControlCheckWithoutPrivilege(t *testing.T) {
	needXderp(t, "control socket")
	if os.Getuid() != 0 || isSet("--user", "root") {
		t.Skip("there is nothing to give up, or it is kept")
	}
	s := start(t, opts{mode: tlsName, control: true, mesh: true})
	os.Chmod(filepath.Join(s.dir, testName+".key"), 0600)
	out, _, _ := s.ctlRun(t, "check", "--json")
	for check, state := range map[string]string{"key_file": "skip", "tls_key_file": "ok", "certificate_files": "ok"} {
		if !regexp.MustCompile(`"check": "` + check + `",\s+"state": "` + state + `"`).MatchString(out) {
			t.Errorf("%s is not %s: %s", check, state, out)
		}
	}
}
