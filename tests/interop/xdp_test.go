// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tailscale.com/net/stun"
)

// startXDP starts a relay on all addresses, its program on the interface near (unless the arguments say otherwise).
func startXDP(t testing.TB, mode string, args ...string) *server {
	t.Helper()
	return startXDPWith(t, opts{host: wildcard, args: append([]string{"--xdp=" + mode}, args...)})
}

// startXDPWith returns when all is attached: ports are open before that.
func startXDPWith(t testing.TB, o opts) *server {
	t.Helper()
	o.args = append([]string{"--xdp-interfaces=near"}, o.args...)
	s := startBPF(t, bpffs(t), o)
	until(t, "the relay to be ready", func() bool { return strings.Contains(s.log.String(), "event=ready") })
	return s
}

// xdp is the counters, of those named, that are not zero.
func (s *server) xdp(t testing.TB) string {
	t.Helper()
	v := s.metrics(t)
	var b strings.Builder
	for _, n := range []string{"guard_passed", "guard_limited", "guard_denied", "guard_untracked", "stun_ipv4", "stun_ipv6",
		"stun_form", "stun_checksum", "stun_address", "stun_no_room"} {
		if c := v.value("xderp_xdp_" + n + "_total"); c != 0 {
			fmt.Fprintf(&b, "%s=%.0f ", n, c)
		}
	}
	return strings.TrimSpace(b.String())
}

func (s *server) wantXDP(t testing.TB, want string) {
	t.Helper()
	if got := s.xdp(t); got != want {
		t.Errorf("XDP counted %q, want %q", got, want)
	}
}

func (s *server) wantFeature(t testing.TB, name, state, reason string) {
	t.Helper()
	line := "event=feature name=" + name + " state=" + state + " "
	for _, l := range strings.Split(s.log.String(), "\n") {
		if strings.Contains(l, line) && strings.Contains(l, reason) {
			return
		}
	}
	t.Errorf("no line says %s... %s:\n%s", line, reason, s.log)
}

// stunFar asks n times from the far end and checks each answer.
func (s *server) stunFar(t testing.TB, f *far, host string, n int) {
	t.Helper()
	u := f.dial("udp", net.JoinHostPort(host, portOf(s.stunAddr))).(*net.UDPConn)
	for range n {
		tx := stun.NewTxID()
		u.Write(stun.Request(tx))
		u.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 1500)
		n, err := u.Read(b)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		local := u.LocalAddr().(*net.UDPAddr).AddrPort()
		if want := stunResponse(tx, netip.AddrPortFrom(local.Addr().Unmap(), local.Port())); !bytes.Equal(b[:n], want) {
			t.Fatalf("%s: %x, want %x", host, b[:n], want)
		}
	}
}

func TestXDPAnswersSTUN(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	kernelComplaints(t)
	f := newFar(t)
	for _, mode := range []string{"native", "generic", "auto"} {
		t.Run(mode, func(t *testing.T) {
			s := startXDP(t, mode)
			want := mode
			if mode == "auto" {
				want = "native" // a veth can
			}
			s.wantFeature(t, "xdp-near", want, "")
			s.stunFar(t, f, "192.0.2.1", 20)
			s.stunFar(t, f, "2001:db8::1", 30)
			s.wantXDP(t, "stun_ipv4=20 stun_ipv6=30")
			s.wantMetrics(t, map[string]float64{"stun_requests{disposition=\"success\"}": 50, "xderp_stun_ipv4_total": 20,
				"stun_addrfamily{family=\"ipv6\"}": 30})
			// Another form: answered by the socket.
			u := f.dial("udp", "192.0.2.1:"+portOf(s.stunAddr)).(*net.UDPConn)
			u.Write(longRequest(100))
			u.SetReadDeadline(time.Now().Add(patience))
			if _, err := u.Read(make([]byte, 1500)); err != nil {
				t.Errorf("a request with an attribute more: %v", err)
			}
			if v := s.metrics(t); v.value("xderp_xdp_stun_form_total") == 0 {
				t.Error("what was left to the socket is not counted")
			}
		})
	}
}

// udpFrame is a STUN request from 192.0.2.2 to 192.0.2.1, behind VLAN tags.
func (f *far) udpFrame(port string, tx stun.TxID, tags ...uint16) []byte {
	b := f.ethernet()
	for i, vid := range tags {
		proto := uint16(unix.ETH_P_8021Q)
		if i < len(tags)-1 {
			proto = unix.ETH_P_8021AD
		}
		b = binary.BigEndian.AppendUint16(b, proto)
		b = binary.BigEndian.AppendUint16(b, vid)
	}
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	req := stun.Request(tx)
	p, _ := netip.ParseAddrPort("192.0.2.1:" + port)
	udp := binary.BigEndian.AppendUint16(nil, 41641)
	udp = binary.BigEndian.AppendUint16(udp, p.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(req)))
	udp = append(append(udp, 0, 0), req...) // IPv4 may go without a checksum
	return append(append(b, ipv4Header(syscall.IPPROTO_UDP, "192.0.2.2", len(udp))...), udp...)
}

func ipv4Header(proto byte, src string, n int) []byte {
	h := []byte{0x45, 0, 0, 0, 0, 1, 0, 0, 64, proto, 0, 0}
	binary.BigEndian.PutUint16(h[2:], uint16(20+n))
	h = append(append(h, net.ParseIP(src).To4()...), 192, 0, 2, 1)
	binary.BigEndian.PutUint16(h[10:], ^onesSum(h, 0))
	return h
}

func onesSum(b []byte, sum uint32) uint16 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

// The kernel takes the outermost tag off a packet it receives and gives it beside; the rest of a stack stays.
func TestXDPAnswersSTUNWithVLANTags(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	kernelComplaints(t)
	f := newFar(t)
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			s := startXDP(t, mode)
			fd := f.packetSocket()
			unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
			for _, tags := range [][]uint16{{5}, {0x6000 | 7}, {9, 0x2000 | 11}} {
				tx := stun.NewTxID()
				if _, err := unix.Write(fd, f.udpFrame(portOf(s.stunAddr), tx, tags...)); err != nil {
					t.Fatal(err)
				}
				checkTagged(t, fd, tx, tags)
			}
			s.wantXDP(t, "stun_ipv4=3")
		})
	}
}

func checkTagged(t *testing.T, fd int, tx stun.TxID, tags []uint16) {
	t.Helper()
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)})
	b, oob := make([]byte, 2048), make([]byte, 256)
	for {
		n, oobn, _, from, err := unix.Recvmsg(fd, b, oob, 0)
		if err != nil {
			t.Fatalf("tags %x: %v", tags, err)
		}
		if from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING || !bytes.Contains(b[:n], tx[:]) {
			continue
		}
		var seen []uint16
		msgs, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for _, m := range msgs { // struct tpacket_auxdata: status first, the tag at 16
			if binary.NativeEndian.Uint32(m.Data)&unix.TP_STATUS_VLAN_VALID != 0 {
				seen = append(seen, binary.NativeEndian.Uint16(m.Data[16:]))
			}
		}
		at := 12
		for ; binary.BigEndian.Uint16(b[at:]) == unix.ETH_P_8021Q; at += 4 {
			seen = append(seen, binary.BigEndian.Uint16(b[at+2:]))
		}
		if fmt.Sprint(seen) != fmt.Sprint(tags) {
			t.Errorf("answer with tags %x, want %x", seen, tags)
		}
		want := stunResponse(tx, netip.MustParseAddrPort("192.0.2.2:41641"))
		if got := b[at+2+28 : n]; !bytes.Equal(got, want) {
			t.Errorf("answer %x, want %x", got, want)
		}
		return
	}
}

// A veth keeps the tag of a VLAN beside the packet, as cards do that take it off: XDP must not answer without it.
func TestXDPWithVLANDevices(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	kernelComplaints(t)
	f := newFar(t)
	addVLAN := []string{"link", "add", "link", "near", "name", "near.5", "type", "vlan", "id", "5"}
	if out, err := exec.Command("ip", addVLAN...).CombinedOutput(); err != nil {
		t.Skipf("no VLAN devices: %s", out)
	}
	ip(t, "addr", "add", "198.51.100.1/24", "dev", "near.5")
	ip(t, "link", "set", "near.5", "up")
	f.ip("link", "add", "link", "far", "name", "far.5", "type", "vlan", "id", "5")
	f.ip("addr", "add", "198.51.100.2/24", "dev", "far.5")
	f.ip("link", "set", "far.5", "up")

	generic := startXDP(t, "generic")
	generic.stunFar(t, f, "198.51.100.1", 3)
	generic.stunFar(t, f, "192.0.2.1", 2)
	generic.wantXDP(t, "stun_ipv4=5")
	generic.stop(t)

	s := startXDP(t, "native")
	s.wantFeature(t, "xdp-near", "guard", "there are VLANs here")
	s.stunFar(t, f, "198.51.100.1", 3)
	s.stunFar(t, f, "192.0.2.1", 2)
	s.wantXDP(t, "stun_address=5")
	ip(t, "link", "del", "near.5")
	until(t, "XDP to answer once the VLAN has gone", func() bool {
		s.stunFar(t, f, "192.0.2.1", 1)
		return s.metrics(t).value("xderp_xdp_stun_ipv4_total") > 0
	})
	s.wantFeature(t, "xdp-near", "native", "")
}

// synFrame opens a TCP connection from src, as far as a single packet can.
func synFrame(ethernet []byte, src string, sport uint16, dport string) []byte {
	p, _ := netip.ParseAddrPort("192.0.2.1:" + dport)
	tcp := binary.BigEndian.AppendUint16(nil, sport)
	tcp = binary.BigEndian.AppendUint16(tcp, p.Port())
	tcp = append(tcp, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0)
	h := ipv4Header(syscall.IPPROTO_TCP, src, len(tcp))
	binary.BigEndian.PutUint16(tcp[16:], ^onesSum(tcp, uint32(onesSum(h[12:], 6+20))))
	b := binary.BigEndian.AppendUint16(bytes.Clone(ethernet), unix.ETH_P_IP)
	return append(append(b, h...), tcp...)
}

func TestXDPGuard(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	kernelComplaints(t)
	f := newFar(t)
	f.ip("addr", "add", "192.0.2.3/24", "dev", "far")
	for _, mode := range []string{"native", "generic"} {
		t.Run(mode, func(t *testing.T) {
			const burst, flood = 10, 5000
			s := startXDP(t, mode, "--guard-rate=0.001", fmt.Sprint("--guard-burst=", burst))
			open := f.dial("tcp", "192.0.2.1:"+portOf(s.addr))
			fd, ethernet := f.packetSocket(), f.ethernet()
			for i := range flood {
				if _, err := unix.Write(fd, synFrame(ethernet, "192.0.2.2", uint16(20000+i), portOf(s.addr))); err != nil {
					t.Fatal(err)
				}
			}
			until(t, "the flood to be counted", func() bool {
				return s.xdp(t) == fmt.Sprintf("guard_passed=%d guard_limited=%d", burst, flood+1-burst)
			})
			// The connection that was open goes on, others come in.
			if a := askOn(t, open, "GET", request("GET", "/derp/probe")); a.status != 200 {
				t.Errorf("open connection: %v", a)
			}
			f.do(func() {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 3)}, Timeout: patience}
				c, err := d.Dial("tcp", "192.0.2.1:"+portOf(s.addr))
				if err != nil {
					t.Errorf("another source: %v", err)
					return
				}
				c.Close()
			})
			s.stunFar(t, f, "192.0.2.1", 1)
			s.wantXDP(t, fmt.Sprintf("guard_passed=%d guard_limited=%d stun_ipv4=1", burst+1, flood+1-burst))
		})
	}
}

func TestXDPDenyList(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	f := newFar(t)
	s := startXDPWith(t, opts{host: wildcard, control: true, args: []string{"--deny=198.51.100.0/24"}})
	s.stunFar(t, f, "192.0.2.1", 1)
	s.ctl(t, "deny", "192.0.2.0/25", "2001:db8::/32")
	for _, addr := range []string{"192.0.2.1", "2001:db8::1"} {
		u := f.dial("udp", net.JoinHostPort(addr, portOf(s.stunAddr)))
		u.Write(stun.Request(stun.NewTxID()))
	}
	until(t, "denied packets to be counted", func() bool { return s.xdp(t) == "guard_denied=2 stun_ipv4=1" })
	if dump := string(bpftool(t, "map", "dump", "pinned", filepath.Join(s.flag("--bpffs"), "derp_deny"))); strings.Count(dump, "\"dropped\"") != 3 {
		t.Errorf("want three networks, those denied and the one of --deny:\n%s", dump)
	}
	s.ctl(t, "allow", "192.0.2.0/25", "2001:db8::/32")
	s.stunFar(t, f, "192.0.2.1", 1)
	s.stunFar(t, f, "2001:db8::1", 1)
	s.wantXDP(t, "guard_denied=2 stun_ipv4=2 stun_ipv6=1")
}

// Loopback carries checksums unfinished, too: XDP answers a client that sends none, the socket all others.
func TestXDPOnLoopback(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	s := startXDPWith(t, opts{args: []string{"--xdp-interfaces=lo", "--xdp=generic"}})
	s.wantFeature(t, "xdp-lo", "generic", "")
	u := s.stunConn(t, s.stunAddr)
	s.wantXDP(t, "guard_passed=1 stun_checksum=1") // the connection that asks for the figures
	raw, err := u.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) })
	if !ping(u) {
		t.Error("no answer")
	}
	s.wantXDP(t, "guard_passed=2 stun_ipv4=1 stun_checksum=1")
}

// flag is the value of the last such argument of the test.
func (s *server) flag(name string) string {
	for i := len(s.args) - 2; i >= 0; i-- {
		if s.args[i] == name {
			return s.args[i+1]
		}
	}
	return ""
}

func hasXDP(t testing.TB) bool { return strings.Contains(ip(t, "link", "show", "dev", "near"), "xdp") }

func TestXDPGoesWithTheDaemon(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	kernelComplaints(t)
	newFar(t)
	for _, mode := range []string{"native", "generic"} {
		s := startXDP(t, mode)
		if !hasXDP(t) {
			t.Fatal("it is not there: this test shows nothing")
		}
		if err := s.stop(t); err != nil {
			t.Error(err)
		}
		if hasXDP(t) {
			t.Errorf("%s: still there after the end", mode)
		}
		s = startXDP(t, mode)
		s.stopped = true
		s.kill()
		until(t, "the program to go after SIGKILL", func() bool { return !hasXDP(t) })
	}
}

func TestXDPLeavesOtherProgramsAlone(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	f := newFar(t)
	first := startXDP(t, "auto")
	second := startXDP(t, "auto")
	second.wantFeature(t, "xdp-near", "off", "near has an XDP program already: derp_xdp, id ")
	second.wantFeature(t, "xdp", "off", "")
	first.stunFar(t, f, "192.0.2.1", 3)
	first.wantXDP(t, "stun_ipv4=3")
	if err := second.stop(t); err != nil {
		t.Error(err)
	}
	if !hasXDP(t) {
		t.Error("the second relay took the program of the first")
	}
	first.stop(t)

	// A program that is attached without a link, which a link could replace.
	ip(t, "link", "add", "spare", "type", "veth", "peer", "name", "spare1")
	owner := startXDP(t, "auto", "--xdp-interfaces=spare")
	id := strings.Fields(strings.Split(ip(t, "-d", "link", "show", "dev", "spare"), "prog/xdp id ")[1])[0]
	bpftool(t, "net", "attach", "xdp", "id", id, "dev", "near")
	third := startXDP(t, "auto")
	third.wantFeature(t, "xdp-near", "off", "near has an XDP program already: derp_xdp, id "+id)
	third.stop(t)
	owner.stop(t)
	if !hasXDP(t) {
		t.Error("a program of somebody else has gone")
	}
	bpftool(t, "net", "detach", "xdp", "dev", "near")
}

func TestXDPFollowsAddresses(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	f := newFar(t)
	s := startXDP(t, "auto")
	ip(t, "addr", "add", "192.0.2.77/24", "dev", "near")
	u := f.dial("udp", "192.0.2.77:"+portOf(s.stunAddr)).(*net.UDPConn)
	until(t, "a new address to be answered for", func() bool {
		return ping(u) && s.metrics(t).value("xderp_xdp_stun_ipv4_total") > 0
	})
	ip(t, "addr", "del", "192.0.2.77/24", "dev", "near")
	until(t, "an old address to be left alone", func() bool {
		before := s.metrics(t).value("xderp_xdp_stun_address_total")
		u.Write(stun.Request(stun.NewTxID()))
		return s.metrics(t).value("xderp_xdp_stun_address_total") > before
	})
}

func TestXDPBoundToOneAddress(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	f := newFar(t)
	ip(t, "addr", "add", "192.0.2.77/24", "dev", "near")
	s := startXDPWith(t, opts{host: "192.0.2.77", args: []string{"--debug-cidrs=192.0.2.0/24"}})
	s.stunFar(t, f, "192.0.2.77", 2)
	f.dial("udp", "192.0.2.1:"+portOf(s.stunAddr)).Write(stun.Request(stun.NewTxID()))
	until(t, "a request for another address to be counted", func() bool { return s.xdp(t) == "stun_ipv4=2 stun_address=1" })
}

func TestXDPOff(t *testing.T) {
	needXderp(t, "no XDP")
	if !ownNetwork(t) {
		return
	}
	newFar(t)
	for _, row := range []struct{ state, reason, args string }{
		{"off", "no --xdp-interfaces", "--xdp-interfaces="},
		{"off", "--xdp=off", "--xdp=off"},
		{"off", "none of the interfaces: nope0, near0", "--xdp-interfaces=nope0, near0"},
		{"on", "1 of nope0,near", "--xdp-interfaces=nope0,near"},
	} {
		s := startXDP(t, "auto", row.args)
		s.wantFeature(t, "xdp", row.state, row.reason)
		if strings.Contains(row.args, "nope0") {
			s.wantFeature(t, "xdp-nope0", "off", "there is no interface nope0")
		}
		if hasXDP(t) != (row.state == "on") {
			t.Errorf("%s: attached or not", row.args)
		}
		s.stop(t)
	}
	s := start(t, opts{args: []string{"--bpf=off", "--xdp-interfaces=near"}, last: withoutBPF})
	s.wantFeature(t, "xdp", "off", "BPF is off")
}
