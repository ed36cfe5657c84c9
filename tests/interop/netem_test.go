// SPDX-License-Identifier: BSD-3-Clause

package interop

// Networks that lose, reorder and delay, and clients that stall and reset there. They run where loopback is
// ours to disturb: in tools/vm, or in a network namespace of a kernel that has netem.

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

type link struct {
	name    string
	netem   string
	packets uint64
	proof   string // counter of /proc/net/netstat or snmp that shows that the link does what it says
}

var (
	lossy   = link{"5 % loss", "loss 5%", 300, "Tcp:RetransSegs"}
	shuffle = link{"reordering", "delay 10ms reorder 25% 50%", 300, "TcpExt:TCPOFOQueue"}
	distant = link{"200 ms", "delay 200ms", 60, ""}
)

// disturb makes loopback behave like l until the function it returns is called, which fails the test if it did not.
// Frames are those of Ethernet: 5 % of loopback's 64 KiB would be another thing than 5 % of 1500 bytes.
func (l link) disturb(t testing.TB) (calm func()) {
	t.Helper()
	if os.Getenv("XDERP_NETEM") == "" {
		t.Skip("only where XDERP_NETEM says that loopback is ours to disturb: tools/vm")
	}
	ip(t, "link", "set", "lo", "mtu", "1500", "gso_max_segs", "1")
	mustRun(t, "tc", strings.Fields("qdisc replace dev lo root netem limit 100000 "+l.netem)...)
	done, before := false, kernelCounters(t)[l.proof]
	calm = func() {
		if done {
			return
		}
		done = true
		mustRun(t, "tc", "qdisc", "del", "dev", "lo", "root")
		if n := kernelCounters(t)[l.proof] - before; l.proof != "" && n == 0 {
			t.Errorf("%s: %s did not go up: nothing was disturbed", l.name, l.proof)
		} else if l.proof != "" {
			t.Logf("%s: %s %+d", l.name, l.proof, n)
		}
	}
	t.Cleanup(func() { // also when the test failed
		if !done {
			mustRun(t, "tc", "qdisc", "del", "dev", "lo", "root")
		}
	})
	return calm
}

// kernelCounters are those of TCP, by group and name.
func kernelCounters(t testing.TB) map[string]int {
	t.Helper()
	m := map[string]int{}
	for _, file := range []string{"/proc/net/snmp", "/proc/net/netstat"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(b), "\n") // a line of names, a line of values
		for i := 0; i+1 < len(lines); i += 2 {
			names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
			for j := 1; j < len(names); j++ {
				var n int
				fmt.Sscan(values[j], &n)
				m[names[0]+names[j]] = n
			}
		}
	}
	return m
}

// idle waits until nobody is connected, and tells what the relay then has open.
func (s *server) idle(t testing.TB) (descriptors int) {
	t.Helper()
	until(t, "all clients to be gone", func() bool {
		return s.varz(t).value("derp_current_connections") == 0
	})
	return s.descriptors(t)
}

// wantIdle ends a test: the books balance, the relay serves, and keeps nothing of those who left.
func (s *server) wantIdle(t testing.TB, descriptors int, all ...*raw) {
	t.Helper()
	s.conservation(t)
	p := s.pair(t)
	p.relays()
	for _, r := range append(all, p.a, p.b) {
		r.c.Close()
	}
	s.idle(t)
	// Of a client whose reset was lost the relay hears nothing: the limits on logging in end it.
	untilWithin(t, 4*patience, "its descriptors to be closed", func() bool { return s.descriptors(t) <= descriptors })
}

// Two clients exchange checked packets over bad links: all arrive, whole and in order.
func TestNetemExchange(t *testing.T) {
	for _, l := range []link{lossy, shuffle, distant} {
		for _, m := range []mode{plain, tlsName} {
			t.Run(l.name+"/"+m.String(), func(t *testing.T) {
				s := start(t, opts{mode: m})
				fds := s.idle(t)
				calm := l.disturb(t)
				begin := time.Now()
				a, b := s.client(t), s.client(t)
				exchange(t, a, b, l.packets)
				if d := time.Since(begin); l == distant && d < 2*time.Second {
					t.Errorf("done in %v: nothing was delayed", d)
				}
				calm()
				s.wantNoDrops(t)
				s.wantIdle(t, fds, a, b)
			})
		}
	}
}

// A client stops reading until its window is closed and the relay has to drop, and then goes on: what comes is whole
// and in order, what does not is counted.
func TestNetemZeroWindow(t *testing.T) {
	for _, l := range []link{lossy, distant} {
		for _, m := range []mode{plain, tlsName} {
			t.Run(l.name+"/"+m.String(), func(t *testing.T) {
				s := start(t, opts{mode: m, args: []string{"-tcp-write-timeout=60s"}})
				fds := s.idle(t)
				calm := l.disturb(t)
				sender, stalled := s.client(t), s.client(t)
				closed, total := kernelCounters(t)["TcpExt:TCPToZeroWindowAdv"], 0
				until(t, "a closed window and drops", func() bool {
					for range 200 {
						sender.sendTo(stalled.pub, kindPacket("OD"[total%2], uint64(total)))
						total++
					}
					sender.sync()
					return s.drops(t) > 0 && kernelCounters(t)["TcpExt:TCPToZeroWindowAdv"] > closed
				})
				o := s.collect(t, stalled, total, func(int) {})
				t.Logf("%d of %d packets arrived", o.n['D']+o.n['O'], total)
				calm()
				s.wantIdle(t, fds, sender, stalled)
			})
		}
	}
}

// Clients come over a lossy link and reset in every stage, while packets are on their way to them. Two that stay notice
// nothing.
func TestNetemResetStorm(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			fds := s.idle(t)
			sender, a, b := s.client(t), s.client(t), s.client(t)
			calm := lossy.disturb(t)
			undisturbed := make(chan error, 1)
			go func() { undisturbed <- converse(a, b, 200, sizes) }()
			hello := []byte("GET /derp HTTP/1.1\r\n")
			if m == tlsName {
				hello = clientHello(t, s)
			}
			for i := range 30 {
				c := s.tcp(t)
				c.Write(hello[:i*len(hello)/30])
				reset(c)
				if i%2 == 0 {
					reset(s.upgrade(t).c)
					continue
				}
				victim := s.client(t)
				for range 40 {
					sender.sendTo(victim.pub, noise[:1000])
				}
				reset(victim.c)
				for range 40 {
					sender.sendTo(victim.pub, noise[:1000])
				}
			}
			if err := <-undisturbed; err != nil {
				t.Fatal(err)
			}
			calm()
			until(t, "the victims to be gone", func() bool {
				return s.varz(t).value("derp_current_connections") == 3
			})
			s.wantIdle(t, fds, sender, a, b)
		})
	}
}

func reset(c net.Conn) {
	if tc, ok := c.(*tls.Conn); ok {
		c = tc.NetConn() // no close_notify
	}
	c.(*net.TCPConn).SetLinger(0)
	c.Close()
}
