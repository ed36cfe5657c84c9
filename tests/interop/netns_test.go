// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownNetwork runs the calling test again in a network namespace of its own, and returns true there. The test that
// calls it ends by that, whatever the result.
func ownNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv("XDERP_OWN_NETWORK") != "" {
		ip(t, "link", "set", "lo", "up")
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	cmd := exec.Command("/proc/self/exe", "-test.v", "-test.run=^"+t.Name()+"$", "-test.timeout=0", fmt.Sprintf("-test.short=%v", testing.Short()))
	cmd.Env = append(os.Environ(), "XDERP_OWN_NETWORK=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // the signal comes when the thread ends that asked for it
	defer runtime.UnlockOSThread()
	out, err := cmd.CombinedOutput()
	if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
		t.Skipf("no network namespace: %v", err)
	}
	switch {
	case err != nil:
		t.Fatalf("%s", out)
	case strings.Contains(string(out), "--- SKIP: "+t.Name()):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Fatalf("it did not run:\n%s", out)
	}
	t.Logf("\n%s", out)
	return false
}

func ip(t testing.TB, args ...string) string {
	t.Helper()
	return mustRun(t, "ip", args...)
}

func mustRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// far is another machine: a network namespace at the other end of a veth.
type far struct {
	t    testing.TB
	pid  string
	near string // our address, for those there
}

// remotes, if any, are where clients are: each connection to a relay comes from the next of them. Relays listen on all addresses.
var (
	remotes []*far
	dialled atomic.Uint32
)

// addRemote makes another one: a network namespace at the other end of a veth. It sends what its own card would cut into
// segments (whole), or has a card that cannot do that (cut).
func addRemote(t testing.TB, cut bool) {
	t.Helper()
	f := newNetwork(t)
	n := len(remotes)
	dev := fmt.Sprintf("clients%d", n)
	f.near = fmt.Sprintf("198.51.100.%d", 8*n+1)
	ip(t, "link", "add", dev, "type", "veth", "peer", "name", "far", "netns", f.pid)
	ip(t, "link", "set", dev, "up")
	ip(t, "addr", "add", f.near+"/29", "dev", dev)
	f.ip("link", "set", "far", "up")
	f.ip("addr", "add", fmt.Sprintf("198.51.100.%d/29", 8*n+2), "dev", "far")
	if cut {
		f.offload(unix.ETHTOOL_STSO, 0)
		f.offload(unix.ETHTOOL_SGSO, 0)
	}
	remotes = append(remotes, f)
	t.Cleanup(func() {
		remotes = remotes[:n]
		ip(t, "link", "del", dev)
	})
}

// dialRelay connects to a relay's main port: from here, or from the next remote.
func dialRelay(ctx context.Context, d *net.Dialer, addr string) (c net.Conn, err error) {
	if len(remotes) == 0 {
		return d.DialContext(ctx, "tcp", addr)
	}
	f := remotes[dialled.Add(1)%uint32(len(remotes))]
	f.do(func() { c, err = d.DialContext(ctx, "tcp", net.JoinHostPort(f.near, portOf(addr))) })
	return c, err
}

// newNetwork is a network namespace with a loopback interface and nothing else.
func newNetwork(t testing.TB) *far {
	t.Helper()
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		holder.Process.Kill()
		holder.Wait()
	})
	f := &far{t: t, pid: strconv.Itoa(holder.Process.Pid)}
	f.ip("link", "set", "lo", "up")
	return f
}

// newFar connects one: "near" is our end, 192.0.2.1 and 2001:db8::1, "far" is its end, .2 and ::2.
func newFar(t testing.TB) *far {
	t.Helper()
	f := newNetwork(t)
	ip(t, "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", f.pid)
	ip(t, "link", "set", "near", "up")
	ip(t, "addr", "add", "192.0.2.1/24", "dev", "near")
	ip(t, "addr", "add", "2001:db8::1/64", "dev", "near", "nodad")
	f.ip("link", "set", "far", "up")
	f.ip("addr", "add", "192.0.2.2/24", "dev", "far")
	f.ip("addr", "add", "2001:db8::2/64", "dev", "far", "nodad")
	f.offload(unix.ETHTOOL_STXCSUM, 0) // checksums as a network carries them: a veth passes them on unfinished
	f.takeXDP()
	return f
}

func (f *far) ip(args ...string) string {
	f.t.Helper()
	return mustRun(f.t, "nsenter", append([]string{"-t", f.pid, "-n", "ip"}, args...)...)
}

// do runs fn there. Sockets that it opens stay there.
func (f *far) do(fn func()) {
	f.t.Helper()
	errs := make(chan error)
	go func() {
		runtime.LockOSThread()
		errs <- inside("/proc/"+f.pid+"/ns/net", fn)
	}()
	if err := <-errs; err != nil {
		f.t.Fatal(err)
	}
}

// inside runs fn in a network namespace. The thread must come back: children die with the one that started them.
func inside(path string, fn func()) error {
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err
	}
	defer home.Close()
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	fn()
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	runtime.UnlockOSThread()
	return nil
}

func (f *far) dial(network, addr string) net.Conn {
	f.t.Helper()
	var c net.Conn
	var err error
	f.do(func() { c, err = net.Dial(network, addr) })
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// offload is ethtool -K.
func (f *far) offload(cmd, value uint32) {
	f.t.Helper()
	var errno syscall.Errno
	f.do(func() {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			f.t.Error(err)
			return
		}
		defer unix.Close(fd)
		v := struct{ cmd, data uint32 }{cmd, value}
		ifr := struct {
			name [16]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&v)}
		copy(ifr.name[:], "far")
		_, _, errno = unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifr)))
	})
	if errno != 0 {
		f.t.Fatal(errno)
	}
}

// takeXDP makes far take what the driver of near sends by itself (XDP_TX): a veth does that only if its own driver
// has a program, too. Ours does, for no ports at all.
func (f *far) takeXDP() {
	f.t.Helper()
	pin := bpffs(f.t)
	bpftool(f.t, "prog", "load", filepath.Join(filepath.Dir(serverPath), "bpf", "xdp.bpf.o"), pin)
	mustRun(f.t, "nsenter", "-t", f.pid, "-n", "bpftool", "net", "attach", "xdpdrv", "pinned", pin, "dev", "far")
}

// packetSocket is a raw one at the far end of the veth.
func (f *far) packetSocket() int {
	f.t.Helper()
	fd := -1
	f.do(func() {
		i, err := net.InterfaceByName("far")
		if err == nil {
			fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		}
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: i.Index})
		}
		if err != nil {
			f.t.Error(err)
		}
	})
	f.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// What Linux 6.18 may say of the sockets of a relay that is killed: what they had received is freed without their lock.
const killedUnread = "inet_sock_destruct"

// kernelComplaints watches the kernel's log from now on; at the end of the test it must hold no warning or worse, but what is
// named as known.
func kernelComplaints(t testing.TB, known ...string) {
	t.Helper()
	log, err := os.OpenFile("/dev/kmsg", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return // not ours to read
	}
	log.Seek(0, io.SeekEnd)
	warnAgain(t)
	t.Cleanup(func() {
		defer log.Close()
		fd := int(log.Fd())
		buf := make([]byte, 8192)
		for {
			n, err := unix.Read(fd, buf)
			if err != nil || n <= 0 {
				return
			}
			line, _, _ := bufio.NewReader(strings.NewReader(string(buf[:n]))).ReadLine()
			for _, bad := range []string{"WARNING:", "BUG:", "Oops", "general protection", "refcount_t", "unregister_netdevice"} {
				if !strings.Contains(string(line), bad) {
					continue
				}
				if slices.ContainsFunc(known, func(k string) bool { return strings.Contains(string(line), k) }) {
					t.Logf("kernel log, a known one (docs/design.md): %s", line)
				} else {
					t.Errorf("kernel log: %s", line)
				}
			}
		}
	})
}

// warnAgain lets the kernel say again what it says only once after its start.
func warnAgain(t testing.TB) {
	dir := t.TempDir()
	if syscall.Mount("debugfs", dir, "debugfs", 0, "") == nil {
		os.WriteFile(filepath.Join(dir, "clear_warn_once"), []byte("1"), 0)
		syscall.Unmount(dir, syscall.MNT_DETACH)
	}
}

// frame builds the Ethernet header of a packet from far to near.
func (f *far) ethernet() []byte {
	f.t.Helper()
	near, err := net.InterfaceByName("near")
	if err != nil {
		f.t.Fatal(err)
	}
	mac := strings.Fields(f.ip("-o", "link", "show", "dev", "far"))
	for i, w := range mac {
		if w == "link/ether" {
			own, _ := net.ParseMAC(mac[i+1])
			return append(append([]byte{}, near.HardwareAddr...), own...)
		}
	}
	f.t.Fatal(fmt.Errorf("no MAC address"))
	return nil
}
