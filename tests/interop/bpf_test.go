// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	bpfOn  = "event=feature name=bpf state=on"
	bpfOff = "event=feature name=bpf state=off"
)

// bpffs is a directory for pins in a BPF file system of the test's own. It skips where the kernel refuses that.
func bpffs(t testing.TB) string {
	t.Helper()
	needXderp(t, "no BPF")
	if os.Getuid() != 0 {
		t.Skip("BPF needs root")
	}
	mnt := t.TempDir()
	if err := syscall.Mount("bpf", mnt, "bpf", 0, "mode=0700"); err != nil {
		t.Skipf("no BPF file system: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(mnt, syscall.MNT_DETACH) })
	return filepath.Join(mnt, "xderp")
}

// bpftool runs it and returns what it printed.
func bpftool(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := exec.Command("bpftool", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("bpftool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// startBPF starts a relay with its maps in dir.
func startBPF(t testing.TB, dir string, o opts) *server {
	t.Helper()
	o.args = append(o.args, "--bpf=on", "--bpffs", dir)
	s := start(t, o)
	until(t, "a line that says that BPF is on", func() bool { return strings.Contains(s.log.String(), bpfOn) })
	return s
}

func pins(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// withoutBPF is for a relay that is to run where there is no BPF, whatever XDERP_ARGS want of it.
var withoutBPF = []string{"--splice=off", "--splice-tls=off"}

// startsNot runs a relay that must refuse to start, and returns its log.
func startsNot(t testing.TB, o opts) string {
	t.Helper()
	s := newServer(t, o)
	if err := s.run(); err == nil {
		s.kill()
		t.Fatalf("it runs:\n%s", s.log)
	}
	return s.log.String()
}

func TestBPFPinsGoWithTheDaemon(t *testing.T) {
	dir := bpffs(t)
	s := startBPF(t, dir, opts{})
	bpftool(t, "map", "show", "pinned", filepath.Join(dir, "derp_peers"))
	if err := s.stop(t); err != nil {
		t.Errorf("exit: %v", err)
	}
	if left := pins(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBPFPinsOfADeadDaemonAreReplaced(t *testing.T) {
	dir := bpffs(t)
	s := startBPF(t, dir, opts{dirty: true})
	s.stopped = true
	s.kill()
	if left := pins(t, dir); len(left) == 0 {
		t.Fatal("SIGKILL left no pins: this test shows nothing")
	}
	s = startBPF(t, dir, opts{})
	if !strings.Contains(s.log.String(), "event=bpf_pins_replaced") {
		t.Error("no line says that pins were replaced")
	}
}

func TestBPFPinsOfALivingDaemonAreLeftAlone(t *testing.T) {
	dir := bpffs(t)
	startBPF(t, dir, opts{})
	log := startsNot(t, opts{args: []string{"--bpf=on", "--bpffs", dir}})
	if !strings.Contains(log, "another xderpd") {
		t.Errorf("it does not say why:\n%s", log)
	}
	auto := start(t, opts{args: []string{"--bpf=auto", "--bpffs", dir}, last: withoutBPF})
	if n := strings.Count(auto.log.String(), bpfOff+" reason=\"another xderpd"); n != 1 {
		t.Errorf("%d lines say that BPF is off, want 1", n)
	}
	auto.stop(t)
	bpftool(t, "map", "show", "pinned", filepath.Join(dir, "derp_peers"))
}

func TestBPFWithoutFileSystem(t *testing.T) {
	needXderp(t, "no BPF")
	dir := filepath.Join(t.TempDir(), "pins")
	log := startsNot(t, opts{args: []string{"--bpf=on", "--bpffs", dir}})
	if !strings.Contains(log, "start_failed") || !strings.Contains(log, "--bpf=on, but") {
		t.Errorf("it does not say why:\n%s", log)
	}
	s := start(t, opts{args: []string{"--bpf=auto", "--bpffs", dir}, last: withoutBPF})
	if n := strings.Count(s.log.String(), bpfOff); n != 1 {
		t.Errorf("%d lines say that BPF is off, want 1", n)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s was left behind", dir)
	}
	off := start(t, opts{args: []string{"--bpf=off"}, last: withoutBPF})
	if !strings.Contains(off.log.String(), bpfOff+` reason="--bpf=off"`) {
		t.Error("no line says that BPF is off because it should be")
	}
}
