// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tailscale.com/types/key"
)

// status is /proc/PID/status of a task.
func status(t testing.TB, path string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]string{}
	for _, line := range strings.Split(string(b), "\n") {
		name, value, _ := strings.Cut(line, ":")
		m[name] = strings.Join(strings.Fields(value), " ")
	}
	return m
}

// untilReady waits for all threads to run without privilege: the listening socket is there before.
func (s *server) untilReady(t testing.TB) {
	t.Helper()
	until(t, "the relay to be ready", func() bool { return strings.Contains(s.log.String(), "event=ready") })
}

// threads returns the status of each of the server's threads.
func (s *server) threads(t testing.TB) (all []map[string]string) {
	t.Helper()
	s.untilReady(t)
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.cmd.Process.Pid))
	for _, f := range tasks {
		all = append(all, status(t, f))
	}
	if len(all) < 2 {
		t.Fatalf("%d threads", len(all))
	}
	return all
}

// children returns the server's child processes.
func (s *server) children(t testing.TB) []string {
	t.Helper()
	s.untilReady(t)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.cmd.Process.Pid))
	if err != nil {
		t.Skipf("the kernel lists no children: %v", err)
	}
	return strings.Fields(string(b))
}

func isSet(name, value string) bool {
	for _, a := range serverArgs {
		if a == name+"="+value {
			return true
		}
	}
	return false
}

func needRoot(t testing.TB) {
	t.Helper()
	needXderp(t, "it keeps the user it was started as")
	if os.Getuid() != 0 {
		t.Skip("only root has something to drop")
	}
	if isSet("--user", "root") || isSet("--seccomp", "off") {
		t.Skip("switched off in XDERP_ARGS")
	}
}

// After start no thread has a privilege, and everything works without: logins, peer maps, reload of certificates that only root
// may read, removal of the pins.
func TestPrivilegesAreDropped(t *testing.T) {
	needRoot(t)
	dir := bpffs(t)
	s := startBPF(t, dir, opts{mode: tlsName})
	s.pair(t).relays()
	none := "0000000000000000"
	for _, st := range s.threads(t) {
		uid := strings.Fields(st["Uid"])[0]
		if uid == "0" || st["Uid"] != strings.Join([]string{uid, uid, uid, uid}, " ") || st["Groups"] != "" || strings.Contains(st["Gid"]+" ", " 0 ") {
			t.Errorf("Uid %s, Gid %s, Groups %q", st["Uid"], st["Gid"], st["Groups"])
		}
		for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
			if st[set] != none {
				t.Errorf("%s %s", set, st[set])
			}
		}
		if st["NoNewPrivs"] != "1" || st["Seccomp"] != "2" {
			t.Errorf("NoNewPrivs %s, Seccomp %s", st["NoNewPrivs"], st["Seccomp"])
		}
	}

	r := s.client(t)
	if _, here := bpfPeers(t, dir)[r.pub]; !here {
		t.Error("a login is not in the map")
	}
	if fi, err := os.Stat(filepath.Join(s.dir, testName+".key")); err != nil || fi.Mode().Perm()&077 != 0 {
		t.Fatalf("the certificate's key is not root's alone: %v %v", fi, err)
	}
	s.cmd.Process.Signal(syscall.SIGHUP)
	until(t, "the certificates to be read again", func() bool {
		return strings.Contains(s.log.String(), "event=reloaded")
	})
	s.pair(t).relays()

	if err := s.stop(t); err != nil {
		t.Errorf("exit: %v", err)
	}
	if left := pins(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	// The directory belongs to somebody else now; root goes on with it.
	startBPF(t, dir, opts{})
}

// What opens certificates on reload can do that and no more, and ends with the relay, however that ends.
func TestPrivilegesOfTheOpener(t *testing.T) {
	needRoot(t)
	s := start(t, opts{mode: tlsName, dirty: true})
	kids := s.children(t)
	if len(kids) != 1 {
		t.Fatalf("%d child processes, want 1", len(kids))
	}
	proc := filepath.Join("/proc", kids[0])
	st := status(t, filepath.Join(proc, "status"))
	if st["Name"] != "xderp-opener" || st["CapEff"] != "0000000000000004" || st["NoNewPrivs"] != "1" || strings.HasPrefix(st["Uid"], "0 ") {
		t.Errorf("%v", st)
	}
	if fds, _ := os.ReadDir(filepath.Join(proc, "fd")); len(fds) != 4 {
		t.Errorf("it holds %d descriptors, want 4", len(fds))
	}
	s.stopped = true
	s.kill()
	until(t, "it to end", func() bool {
		_, err := os.Stat(proc)
		return err != nil
	})
}

// No certificates, or such that everybody may read: nothing to open for us.
func TestNoOpenerWhereNotNeeded(t *testing.T) {
	needRoot(t)
	if kids := start(t, opts{}).children(t); len(kids) != 0 {
		t.Errorf("%d child processes without TLS", len(kids))
	}
}

func TestUserIsChosen(t *testing.T) {
	needRoot(t)
	s := start(t, opts{args: []string{"--user=root", "--seccomp=off"}})
	for _, st := range s.threads(t) {
		if st["Uid"] != "0 0 0 0" || st["Seccomp"] != "0" {
			t.Errorf("Uid %s, Seccomp %s", st["Uid"], st["Seccomp"])
		}
	}
	if log := startsNot(t, opts{args: []string{"--user=" + key.NewNode().Public().ShortString()}}); !strings.Contains(log, "--user") {
		t.Errorf("it does not say why:\n%s", log)
	}
}
