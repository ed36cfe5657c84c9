// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tailscale.com/net/stun"
	"tailscale.com/types/key"
)

// stunConn is a UDP socket connected to the server's STUN port. A refused port is retried: the
// server may open it after the main port.
func (s *server) stunConn(t testing.TB, addr string) *net.UDPConn {
	t.Helper()
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	u := c.(*net.UDPConn)
	until(t, "STUN port", func() bool { return ping(u) })
	return u
}

// ping sends a good request and reports whether its answer comes soon.
func ping(u *net.UDPConn) bool {
	tx := stun.NewTxID()
	u.Write(stun.Request(tx))
	b := make([]byte, 1500)
	u.SetReadDeadline(time.Now().Add(time.Second))
	n, err := u.Read(b)
	if err != nil {
		time.Sleep(10 * time.Millisecond)
		return false
	}
	got, _, err := stun.ParseResponse(b[:n])
	return err == nil && got == tx
}

// stunAnswer sends b and reads up to the answer to a good request behind it: the relay answers a
// socket's packets in order, so an answer to b comes first.
func stunAnswer(t testing.TB, u *net.UDPConn, b []byte) []byte {
	t.Helper()
	for range 5 { // UDP may lose packets even here
		fence := stun.NewTxID()
		u.Write(b)
		u.Write(stun.Request(fence))
		u.SetReadDeadline(time.Now().Add(5 * time.Second))
		var got []byte
		buf := make([]byte, 1500)
		for {
			n, err := u.Read(buf)
			if err != nil {
				break
			}
			if n >= 20 && bytes.Equal(buf[8:20], fence[:]) {
				return got
			}
			got = bytes.Clone(buf[:n])
		}
	}
	t.Fatal("no answer to good requests")
	return nil
}

func stunHosts(t testing.TB) []string {
	hosts := []string{"127.0.0.1"}
	if l, err := net.ListenPacket("udp", "[::1]:0"); err == nil {
		l.Close()
		hosts = append(hosts, "::1")
	}
	return hosts
}

func TestSTUN(t *testing.T) {
	v := vectors(t)
	for _, host := range stunHosts(t) {
		t.Run(host, func(t *testing.T) {
			s := start(t, opts{host: host})
			u := s.stunConn(t, s.stunAddr)
			local, _ := netip.ParseAddrPort(u.LocalAddr().String())
			rows := append(v.STUNVariants, v.STUN.Bad...)
			rows = append(rows, stunVector{"request", v.STUN.RequestHex, "answered"})
			for _, row := range rows {
				t.Run(row.Name, func(t *testing.T) {
					got := stunAnswer(t, u, unhex(t, row.Hex))
					if row.Result != "answered" {
						if got != nil {
							t.Errorf("answered %x", got)
						}
						return
					}
					if got == nil {
						t.Fatal("no answer")
					}
					tx, addr, err := stun.ParseResponse(got)
					if err != nil || addr != local || !bytes.Equal(tx[:], unhex(t, v.STUN.TxID)) {
						t.Fatalf("%x: %v %v, want %v", got, addr, err, local)
					}
					if want := stunResponse(tx, local); !bytes.Equal(got, want) {
						t.Errorf("got  %x\nwant %x", got, want)
					}
				})
			}
			t.Run("every prefix and changed byte", func(t *testing.T) {
				req := unhex(t, v.STUN.RequestHex)
				for i := range req {
					if got := stunAnswer(t, u, req[:i]); got != nil {
						t.Errorf("%d bytes answered", i)
					}
					b := bytes.Clone(req)
					b[i] ^= 1
					if got := stunAnswer(t, u, b); got != nil {
						t.Errorf("byte %d changed: answered", i)
					}
				}
			})
			t.Run("long", func(t *testing.T) {
				for _, n := range []int{4, 400, 1200} {
					if got := stunAnswer(t, u, longRequest(n)); got == nil {
						t.Errorf("attribute of %d bytes before: no answer", n)
					}
				}
				if got := stunAnswer(t, u, make([]byte, 1400)); got != nil {
					t.Errorf("zeros answered")
				}
			})
			s.client(t).sync()
		})
	}
}

// stunResponse is the answer with one XOR-MAPPED-ADDRESS.
func stunResponse(tx stun.TxID, a netip.AddrPort) []byte {
	family, ip := byte(1), a.Addr().AsSlice()
	if a.Addr().Is6() {
		family = 2
	}
	b := []byte{1, 1, 0, byte(8 + len(ip)), 0x21, 0x12, 0xa4, 0x42}
	b = append(b, tx[:]...)
	b = append(b, 0, 0x20, 0, byte(4+len(ip)), 0, family)
	b = binary.BigEndian.AppendUint16(b, a.Port()^0x2112)
	for i, x := range ip {
		b = append(b, x^b[4+i])
	}
	return b
}

// longRequest has an unknown attribute of n bytes in front of SOFTWARE.
func longRequest(n int) []byte {
	tx := stun.NewTxID()
	b := []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42}
	b = append(b, tx[:]...)
	b = append(b, 0, 0x24, byte(n>>8), byte(n))
	b = append(b, make([]byte, n)...)
	b = append(b, "\x80\x22\x00\x08tailnode"...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20+8))
	b = append(b, 0x80, 0x28, 0, 4)
	return binary.BigEndian.AppendUint32(b, stunFingerprint(b[:len(b)-4]))
}

func stunFingerprint(b []byte) uint32 { return crc32.ChecksumIEEE(b) ^ 0x5354554e }

func TestSTUNCounters(t *testing.T) {
	s := start(t, opts{})
	u := s.stunConn(t, s.stunAddr)
	before := s.varz(t)
	for range 5 {
		stunAnswer(t, u, []byte("not stun"))
	}
	// An answer is counted when it is out: the client may be quicker than the counter.
	until(t, "5 answers by IPv4, 5 refusals", func() bool {
		after := s.varz(t)
		diff := func(name, label string) float64 { return after.sum(name, label) - before.sum(name, label) }
		ok, bad, v4 := diff("stun_requests", `"success"`), diff("stun_requests", `"not_stun"`), diff("stun_addrfamily", `"ipv4"`)
		return ok >= 5 && bad >= 5 && v4 >= 5
	})
}

func TestSTUNOff(t *testing.T) {
	s := start(t, opts{args: []string{"-stun=false"}})
	s.client(t).sync()
	c, err := net.Dial("udp", s.stunAddr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(stun.Request(stun.NewTxID()))
	c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := c.Read(make([]byte, 100)); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("%d bytes, %v; want refused", n, err)
	}
}

// A wildcard listener serves both families on one port, with addresses that clients accept.
func TestDualStack(t *testing.T) {
	hosts := stunHosts(t)
	s := start(t, opts{host: wildcard})
	for _, host := range hosts {
		u := s.stunConn(t, net.JoinHostPort(host, portOf(s.stunAddr)))
		_, addr, err := stun.ParseResponse(stunAnswer(t, u, longRequest(4)))
		local, _ := netip.ParseAddrPort(u.LocalAddr().String())
		if err != nil || addr.Addr().Unmap() != local.Addr() || addr.Port() != local.Port() {
			t.Errorf("%v %v, want %v", addr, err, local)
		}
		r := newRaw(t, s, dialTCP(t, net.JoinHostPort(host, portOf(s.addr))))
		if err := r.upgrade(); err != nil {
			t.Fatal(err)
		}
		if err := r.login(key.NewNode(), infoUsual); err != nil {
			t.Fatal(err)
		}
		r.sync()
	}
}
