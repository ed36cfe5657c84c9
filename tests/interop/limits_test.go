// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// tryClient logs in from an address of this machine, as a client of a fresh key; false if it was refused.
func (s *server) tryClient(t testing.TB, ip string) (*raw, bool) {
	t.Helper()
	return s.comes(t, dialFrom(t, ip, s.addr), key.NewNode())
}

func (s *server) comes(t testing.TB, c net.Conn, k key.NodePrivate) (*raw, bool) {
	t.Helper()
	end := c
	if s.mode != plain {
		end = tls.Client(c, s.tlsConfig())
	}
	r := newRaw(t, s, end)
	if r.upgrade() != nil || r.login(k, infoUsual) != nil {
		c.Close()
		return nil, false
	}
	return r, true
}

// firstSource is the line of the source with most connections: its network, connections, those not logged in, those refused.
func (s *server) firstSource(t testing.TB) []string {
	t.Helper()
	return strings.Fields(strings.Split(s.ctl(t, "sources"), "\n")[2])
}

// A source, which may be a flood or a thousand machines behind one NAT, has so many connections and no more; others don't notice.
func TestSourceConnections(t *testing.T) {
	needXderp(t, "it has no limit per address")
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s, file := withConfig(t, opts{mode: m, args: []string{"--source-exempt=127.0.0.1, 127.0.0.9"}}, "max-connections-per-source = 3\n")
			others := s.pair(t)
			var held []*raw
			for i := range 3 {
				r, ok := s.tryClient(t, "127.0.0.2")
				if !ok {
					t.Fatalf("client %d was refused", i)
				}
				held = append(held, r)
			}
			for range 4 {
				if _, ok := s.tryClient(t, "127.0.0.2"); ok {
					t.Fatal("a fourth client came in")
				}
			}
			s.wantMetrics(t, map[string]float64{`xderp_connections_closed_total|"source_limit"`: 4, `xderp_limit|"max-connections-per-source"`: 3,
				`xderp_limit_used|"max-sources"`: 1})
			if got := s.firstSource(t); !slices.Equal(got, []string{"127.0.0.2/32", "3", "0", "4"}) {
				t.Error(got)
			}
			if out := s.ctl(t, "status"); !regexp.MustCompile(`\nmax-connections-per-source +3 +- +4\n`).MatchString(out) {
				t.Error(out)
			}
			if out, _, _ := s.ctlRun(t, "check"); !strings.Contains(out, "1 met; max-connections-per-source, 4 times") {
				t.Error(out)
			}
			if _, ok := s.tryClient(t, "127.0.0.3"); !ok {
				t.Error("another source was refused")
			}
			for range 5 {
				if _, ok := s.tryClient(t, "127.0.0.9"); !ok {
					t.Error("an exempt source was refused")
				}
			}
			held[0].c.Close()
			until(t, "room for another", func() bool { _, ok := s.tryClient(t, "127.0.0.2"); return ok })
			writeFile(t, file, "max-connections-per-source = 4\n")
			if r := s.reload(t); r.Error != "" || !slices.Equal(r.Changed, []string{"max-connections-per-source"}) {
				t.Fatalf("%+v", r)
			}
			if _, ok := s.tryClient(t, "127.0.0.2"); !ok {
				t.Error("refused although the limit was raised")
			}
			if _, ok := s.tryClient(t, "127.0.0.2"); ok {
				t.Error("a fifth client came in")
			}
			held[1].sync()
			others.relays()
		})
	}
}

// Silent connections of one source take no room from others; who logs in does not count among them.
func TestSourceUnauthenticated(t *testing.T) {
	needXderp(t, "it has no limit per address")
	s := start(t, opts{control: true, args: []string{"--source-exempt=127.0.0.1", "--max-unauthenticated-per-source=2"}})
	var clients []*raw
	for range 5 {
		r, ok := s.tryClient(t, "127.0.0.2")
		if !ok {
			t.Fatal("refused")
		}
		clients = append(clients, r)
	}
	a, b := dialFrom(t, "127.0.0.2", s.addr), dialFrom(t, "127.0.0.2", s.addr)
	defer b.Close()
	until(t, "the two to be accepted", func() bool { return slices.Equal(s.firstSource(t), []string{"127.0.0.2/32", "7", "2", "0"}) })
	if _, ok := s.tryClient(t, "127.0.0.2"); ok {
		t.Error("a third came in")
	}
	if _, ok := s.tryClient(t, "127.0.0.3"); !ok {
		t.Error("another source was refused")
	}
	if n := s.metrics(t).sum("xderp_connections_closed_total", `"source_unauthenticated"`); n < 1 {
		t.Errorf("%v counted", n)
	}
	a.Close()
	until(t, "room for a client", func() bool { _, ok := s.tryClient(t, "127.0.0.2"); return ok })
	for _, r := range clients {
		r.sync()
	}
}

func TestSourceLogins(t *testing.T) {
	needXderp(t, "it has no limit per address")
	s := start(t, opts{args: []string{"--source-exempt=127.0.0.1", "--source-login-rate=0.0001", "--source-login-burst=3"}})
	for i := range 5 {
		if _, ok := s.tryClient(t, "127.0.0.2"); ok != (i < 3) {
			t.Errorf("login %d: %v", i, ok)
		}
	}
	if _, ok := s.tryClient(t, "127.0.0.3"); !ok {
		t.Error("another source was refused")
	}
	s.wantMetrics(t, map[string]float64{`xderp_connections_closed_total|"source_logins"`: 2})
	// Asking for a page is no login.
	if a := askOn(t, dialFrom(t, "127.0.0.2", s.addr), "GET", request("GET", "/generate_204")); a.status != 204 {
		t.Error(a)
	}
}

// What a proxy says is the source, IPv6 by /56; a proxy that speaks for itself has no limit.
func TestSourceBehindProxy(t *testing.T) {
	needXderp(t, "PROXY protocol")
	s := start(t, opts{args: []string{"--source-exempt=", "--max-connections-per-source=2", "--proxy-protocol-from=" + proxyIP}})
	come := func(head []byte, want bool) {
		t.Helper()
		if _, ok := s.comes(t, &headed{TCPConn: dialFrom(t, proxyIP, s.addr), head: head}, key.NewNode()); ok != want {
			t.Errorf("%q: let in %v, want %v", head, ok, want)
		}
	}
	from := func(ip string, n int) []byte { return proxyV1(fmt.Sprintf("TCP6 %s ::1 %d 443", ip, n)) }
	come(from("2001:db8:0:1a0::1", 1), true)
	come(from("2001:db8:0:1b0::2", 2), true)
	come(from("2001:db8:0:1ff::3", 3), false)
	come(from("2001:db8:0:200::1", 4), true)
	come(from("::ffff:192.0.2.1", 5), true)
	come(from("::ffff:192.0.2.1", 6), true)
	come(proxyV1("TCP4 192.0.2.1 192.0.2.9 7 443"), false)
	come(from("::ffff:192.0.2.2", 8), true)
	for range 4 {
		come(proxyV2(0, 0, nil), true)
	}
}

func TestHandshakeLimit(t *testing.T) {
	needXderp(t, "it has no limit on handshakes")
	s := start(t, opts{mode: tlsName, args: []string{"--max-handshakes=16"}})
	others := s.pair(t)
	metrics := scraper(t, s.conn(t))
	for range 50 {
		s.tcp(t) // held open, silent
	}
	until(t, "refusals", func() bool {
		return metrics().sum("xderp_connections_closed_total", `"handshake_limit"`) >= 50-16
	})
	if got := metrics().sum("xderp_conns_handshaking"); got > 16 {
		t.Errorf("%v handshakes, limit 16", got)
	}
	others.relays()
}

// A line of --allow-keys says what its key may have: how fast it sends, and how many connections. Others have what all have, and a
// reload changes it for those that are connected.
func TestKeyCaps(t *testing.T) {
	needXderp(t, "it has no caps by key")
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			slow, single, other := key.NewNode(), key.NewNode(), key.NewNode()
			file := filepath.Join(t.TempDir(), "keys")
			name := func(k key.NodePrivate) string { return k.Public().String() }
			lines := name(single) + " conns=1\n* conns=3 # whoever it is\n"
			writeFile(t, file, name(slow)+" bob rate=300000\n"+lines)
			s := start(t, opts{mode: m, control: true, mesh: true, args: []string{"--allow-keys", file, "--max-connections-per-key=2", "--send-queue-depth=1024"}})

			// How many connections: the newest is refused.
			for _, c := range []struct {
				k     key.NodePrivate
				limit int
			}{{slow, 2}, {single, 1}, {other, 3}} {
				var held []*raw
				for range c.limit {
					held = append(held, s.clientAs(t, c.k, infoUsual))
				}
				if r := s.upgrade(t); r.login(c.k, infoUsual) == nil {
					r.wantClosed()
				}
				for _, r := range held {
					r.sync()
					r.c.Close()
				}
			}
			s.wantMetrics(t, map[string]float64{`xderp_connections_closed_total|"key_limit"`: 3, "xderp_derp_conns": 0, "xderp_capped_conns": 0})

			// How fast.
			send := func(from, to *raw, n int) {
				t.Helper()
				errs := make(chan error, 1)
				go func() {
					var err error
					for seq := range uint64(n) {
						from.c.SetWriteDeadline(time.Now().Add(patience))
						if _, err = from.c.Write(encode(fSendPacket, to.pub.AppendTo(nil), payload(1, seq, 1000))); err != nil {
							break
						}
					}
					errs <- err
				}()
				for seq := range uint64(n) {
					to.wantPacket(from.pub, payload(1, seq, 1000))
				}
				if err := <-errs; err != nil {
					t.Fatal(err)
				}
			}
			oneByOne := func(from, to *raw, n int) {
				t.Helper()
				for seq := range uint64(n) {
					from.sendTo(to.pub, payload(2, seq, 1000))
					to.wantPacket(from.pub, payload(2, seq, 1000))
				}
			}
			waits := func() float64 { return s.metrics(t).value("xderp_rate_waits_total") }
			a, b, c := s.clientAs(t, slow, infoUsual), s.clientAs(t, single, infoUsual), s.clientAs(t, other, infoUsual)
			oneByOne(b, c, 500)
			oneByOne(c, b, 500)
			if waits() != 0 {
				t.Errorf("%v waits without a cap on the rate", waits())
			}
			begin := time.Now()
			send(a, b, 200)
			// What a receive buffer holds is taken on credit, paid back before the next read.
			if took, least := time.Since(begin), time.Duration(200*1032-65568-2*32768)*time.Second/300000; took < least || waits() == 0 {
				t.Errorf("200 packets took %v, want at least %v; %v waits", took, least, waits())
			}
			s.wantMetrics(t, map[string]float64{"xderp_capped_conns": 3})
			if out := s.ctl(t, "peers", "--json"); !strings.Contains(out, `"rate":300000`) || !strings.Contains(out, `"conns":1`) {
				t.Error(out)
			}

			// Reload: another is slow now. A mesh client never is.
			writeFile(t, file, name(other)+" rate=300000\n"+name(slow)+"\n"+name(single)+" conns=1\n")
			if r := s.reload(t); r.Error != "" {
				t.Fatalf("%+v", r)
			}
			s.wantMetrics(t, map[string]float64{"xderp_capped_conns": 2})
			send(a, b, 50) // pays what it owes
			before := waits()
			oneByOne(a, b, 500)
			if got := waits(); got > before {
				t.Errorf("%v more waits without a cap", got-before)
			}
			k := s.meshClient(t)
			oneByOne(k, b, 500)
			send(c, b, 200)
			if waits() == before {
				t.Error("the new cap does not hold")
			}
			if _, ok := s.comes(t, s.tcp(t), key.NewNode()); ok {
				t.Error("a key came in that is not on the list any more")
			}

			// A line that is wrong keeps what was.
			writeFile(t, file, name(other)+" rate=fast\n")
			if r := s.reload(t); !strings.Contains(strings.Join(r.Faults, ""), `line 1 (--allow-keys): "rate=fast" is wrong`) {
				t.Errorf("%+v", r)
			}
			s.wantMetrics(t, map[string]float64{"xderp_capped_conns": 2})
			s.conservation(t)
		})
	}
}
