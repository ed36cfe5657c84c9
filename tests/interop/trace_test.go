// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tailscale.com/types/key"
)

// readmeLines are the commands of the README that look into a running relay, and what their output must have.
var readmeLines = []struct{ begin, want string }{
	{"bpftool map dump pinned /sys/fs/bpf/xderp/derp_peers", `"short_key": "\[`},
	{"bpftool map dump pinned /sys/fs/bpf/xderp/derp_xdp_stats", `"guard_denied": [1-9]`},
	{"bpftool map dump pinned /sys/fs/bpf/xderp/derp_guard", `"passed": [1-9]`},
	{"perf buildid-cache", `sdt_xderp:drop +\(on`},
	{"perf record -e sdt_xderp:drop", `sdt_xderp:drop: \([0-9a-f]+\) arg1=0 arg2=100 arg3=`},
	{"perf record -e xdp:xdp_exception", `xdp:xdp_exception: prog_id=[0-9]+ action=ABORTED ifindex=`},
}

// readmeCommands returns the lines of the README's shell blocks that begin with bpftool or perf.
func readmeCommands(t testing.TB) (lines []string) {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```").FindAllStringSubmatch(string(b), -1) {
		for _, l := range strings.Split(block[1], "\n") {
			if strings.HasPrefix(l, "perf ") || strings.HasPrefix(l, "bpftool ") {
				lines = append(lines, l)
			}
		}
	}
	return lines
}

// traced runs a command where perf finds tracefs and leaves nothing in anybody's home.
func traced(dir, line string) (string, error) {
	const mount = "mountpoint -q /sys/kernel/tracing || mount -t tracefs tracefs /sys/kernel/tracing; "
	cmd := exec.Command("unshare", "-m", "sh", "-c", mount+line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	file, err := os.CreateTemp(dir, "out") // into a pipe perf record would write what it recorded
	if err != nil {
		return "", err
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	failed := cmd.Run()
	out, err := os.ReadFile(file.Name())
	return string(out), errors.Join(failed, err)
}

func TestREADMELooksInside(t *testing.T) {
	needXderp(t, "its README is another")
	needTime(t)
	if !ownNetwork(t) {
		return
	}
	dir := t.TempDir()
	if out, err := traced(dir, "perf probe -l"); err != nil {
		t.Skipf("perf can't put probes: %v\n%s", err, out)
	} else if strings.Contains(out, "sdt_xderp") {
		t.Skip("somebody else has the probe")
	}
	defer traced(dir, "perf probe -d 'sdt_xderp:*'")
	f := newFar(t)
	s := startXDP(t, "auto", "--deny=198.51.100.0/24")
	f.dial("tcp", "192.0.2.1:"+portOf(s.addr))

	stop := make(chan struct{})
	done := make(chan struct{})
	defer func() { close(stop); <-done }()
	go s.dropAllTheTime(t, f, stop, done)
	until(t, "drops of both kinds", func() bool {
		return strings.Contains(s.xdp(t), "guard_denied") && s.drops(t, "unknown_dest") > 0
	})
	checked := 0
	for _, line := range readmeCommands(t) {
		for _, row := range readmeLines {
			if strings.HasPrefix(line, row.begin) {
				s.runREADMELine(t, dir, line, row.want)
				checked++
			}
		}
	}
	if lines := readmeCommands(t); checked != len(lines) || checked != len(readmeLines) {
		t.Errorf("%d lines were checked, the README has %d, the table %d:\n%s", checked, len(lines), len(readmeLines),
			strings.Join(lines, "\n"))
	}
}

func (s *server) runREADMELine(t *testing.T, dir, line, want string) {
	t.Helper()
	program, err := filepath.Abs(serverPath)
	if err != nil {
		t.Fatal(err)
	}
	real := strings.NewReplacer("build/xderpd", program, `"$(pidof xderpd)"`, fmt.Sprint(s.cmd.Process.Pid),
		"/sys/fs/bpf/xderp", s.flag("--bpffs"), "sleep 10", "sleep 2").Replace(line)
	out, err := traced(dir, real)
	if err != nil {
		t.Errorf("%s: %v\n%s", real, err, out)
	} else if !regexp.MustCompile(want).MatchString(out) {
		t.Errorf("%s: no line like %s:\n%s", real, want, out)
	}
}

// dropAllTheTime has a packet dropped by a shard and one by XDP, some fifty times a second.
func (s *server) dropAllTheTime(t testing.TB, f *far, stop, done chan struct{}) {
	defer close(done)
	fd, ethernet, c := f.packetSocket(), f.ethernet(), s.client(t)
	nobody := key.NewNode().Public()
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond):
			c.sendTo(nobody, make([]byte, 100))
			unix.Write(fd, synFrame(ethernet, "198.51.100.7", 4711, portOf(s.addr)))
		}
	}
}
