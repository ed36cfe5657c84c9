// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// Pings without reading the Pongs: at most one answer waits, and others are served meanwhile.
func TestPingFlood(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			flooder, others := s.client(t), s.pair(t)
			flood := bytes.Repeat(encode(fPing, []byte("floodfld")), 2000)
			done := make(chan error, 1)
			go func() {
				for range 50 {
					flooder.c.SetWriteDeadline(time.Now().Add(patience))
					if _, err := flooder.c.Write(flood); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			for range 100 {
				others.relays()
			}
			if err := <-done; err != nil {
				t.Fatalf("the flooder was cut off: %v", err)
			}
			// Pongs only, no more than Pings, and the connection lives.
			n := 0
			until(t, "the answer to a last Ping", func() bool {
				flooder.send(fPing, []byte("last one"))
				for {
					f, err := flooder.frameBy(time.Now().Add(time.Second))
					if err != nil {
						return false
					}
					if f.typ != fPong {
						t.Fatalf("got %v", f)
					}
					n++
					if string(f.body) == "last one" {
						return true
					}
				}
			})
			v := s.varz(t)
			if got := v.value("derp_got_ping"); got < 100001 || v.value("derp_sent_pong") > got || n > int(got) {
				t.Errorf("derp_got_ping %v derp_sent_pong %v, %d Pongs came", got, v.value("derp_sent_pong"), n)
			}
			others.relays()
		})
	}
}

// One sender to 5,000 destinations, of which some are connected.
func TestManyDestinations(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			sender := s.client(t)
			var there []*raw
			var flight []byte
			for i := range 5000 {
				dst := key.NewNode().Public()
				if i%250 == 0 {
					r := s.client(t)
					there = append(there, r)
					dst = r.pub
				}
				flight = append(flight, encode(fSendPacket, dst.AppendTo(nil), payload(3, uint64(i), 60))...)
			}
			sender.write(flight)
			for i, r := range there {
				r.wantPacket(sender.pub, payload(3, uint64(i*250), 60))
			}
			sender.quiet()
			s.wantVarz(t, nil, map[string]float64{`derp_packets_dropped|"unknown_dest"`: 4980})
			// All of them still reachable, in one flight and back.
			for _, r := range there {
				deliver(sender, r)
				deliver(r, sender)
			}
		})
	}
}

// More than 256 live destinations in one flight, all served.
func TestFanOut(t *testing.T) {
	s := start(t, opts{})
	sender := s.client(t)
	var all []*raw
	var flight []byte
	for i := range 400 {
		r := s.client(t)
		all = append(all, r)
		flight = append(flight, encode(fSendPacket, r.pub.AppendTo(nil), payload(4, uint64(i), 300))...)
	}
	sender.write(flight)
	for i, r := range all {
		r.wantPacket(sender.pub, payload(4, uint64(i), 300))
	}
	// And in: all to one, a round at a time so that its queue holds them.
	for i, r := range all {
		r.sendTo(sender.pub, payload(5, uint64(i), 300))
		sender.wantPacket(r.pub, payload(5, uint64(i), 300))
	}
	s.wantNoDrops(t)
}

// Connections that were opened and dropped in every stage leave nothing behind.
func TestChurn(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			others := s.pair(t)
			hello := []byte("GET / HTTP/1.1\r\n")
			if m == tlsName {
				hello = clientHello(t, s)
			}
			for i := range 200 {
				c := s.tcp(t)
				c.Write(hello[:i%len(hello)])
				if i%2 == 0 {
					c.SetLinger(0) // reset
				}
				c.Close()
				switch i % 4 {
				case 0:
					s.upgrade(t).c.Close()
				case 1:
					s.client(t).c.Close()
				case 2:
					r := s.client(t)
					deliver(r, others.a)
					r.c.Write(head(fSendPacket, 1000))
					r.c.Close()
					others.a.wantGone(r.pub, goneDisconnected)
				}
			}
			others.relays()
			s.wantVarz(t, nil, map[string]float64{"derp_current_connections": 2, "derp_clients_total": 2})
		})
	}
}

// A client that resets while packets are on their way to it harms nobody.
func TestResetUnderLoad(t *testing.T) {
	s := start(t, opts{})
	sender, others := s.client(t), s.pair(t)
	p := make([]byte, 1000)
	for range 50 {
		victim := s.client(t)
		for range 40 {
			sender.sendTo(victim.pub, p)
		}
		victim.c.(*net.TCPConn).SetLinger(0)
		victim.c.Close()
		for range 40 {
			sender.sendTo(victim.pub, p)
		}
		sender.sync()
	}
	others.relays()
	until(t, "the victims to be gone", func() bool {
		return s.varz(t).value("derp_current_connections") == 3
	})
	s.conservationAfterRace(t)
}

// Random bytes after login: the server closes or goes on, others are served.
func TestRandomBytes(t *testing.T) {
	s := start(t, opts{mesh: true})
	others := s.pair(t)
	for i := range 300 {
		info := infoUsual
		if i%2 == 0 {
			info = infoMesh
		}
		r := s.clientAs(t, key.NewNode(), info)
		b := append([]byte(nil), noise[i*397:i*397+1+i*7]...)
		b[0] %= 0x20
		if i%3 == 0 && len(b) > 5 {
			binary.BigEndian.PutUint32(b[1:], uint32(i)) // a likely length
		}
		r.c.Write(b)
		r.halfClose()
		r.c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, r.br); err == errTimeout {
			t.Fatal("not closed")
		}
		r.c.Close()
	}
	others.relays()
}

// Limits of ours.

func TestConnectionLimit(t *testing.T) {
	needXderp(t, "it has no limit on connections")
	s := start(t, opts{args: []string{"--max-connections=16"}})
	var held []*raw
	refused := 0
	for range 40 {
		r := newRaw(t, s, s.tcp(t))
		if r.upgrade() == nil && r.login(key.NewNode(), infoUsual) == nil {
			held = append(held, r)
		} else {
			refused++
			r.c.Close()
		}
	}
	if len(held) == 0 || len(held) > 16 || refused == 0 {
		t.Fatalf("%d served, %d refused", len(held), refused)
	}
	for _, r := range held {
		r.sync()
	}
	for _, r := range held[len(held)/2:] {
		r.c.Close()
	}
	until(t, "room for another", func() bool {
		r := newRaw(t, s, s.tcp(t))
		defer r.c.Close()
		return r.upgrade() == nil && r.login(key.NewNode(), infoUsual) == nil
	})
	for _, r := range held { // a shard that is full refuses the scrape, too
		r.c.Close()
	}
	until(t, "refusals counted as conn_limit", func() bool {
		v, err := s.tryMetrics()
		return err == nil && v.sum("xderp_connections_closed_total", `"conn_limit"`) > 0
	})
}

// scraper reads the metrics over a connection that stays.
func scraper(t testing.TB, c net.Conn) func() *varz {
	br := bufio.NewReader(c)
	return func() *varz {
		if _, err := io.WriteString(c, request("GET", "/metrics")); err != nil {
			t.Fatal(err)
		}
		a, err := readAnswer(c, br, "GET")
		if err != nil || a.status != 200 {
			t.Fatalf("%v %v", a, err)
		}
		v, err := parseVarz(a.body)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestUnauthenticatedLimit(t *testing.T) {
	needXderp(t, "it has no limit on connections before login")
	s := start(t, opts{args: []string{"--max-unauthenticated=16"}})
	others := s.pair(t)
	c := s.tcp(t) // one of the 16, on which we look; 16 divides among 1, 2, 4 and 8 shards
	metrics := scraper(t, c)
	metrics()
	for range 50 {
		s.tcp(t) // held open, silent
	}
	until(t, "refusals", func() bool {
		return metrics().sum("xderp_connections_closed_total", `"unauthenticated_limit"`) >= 50-15
	})
	if got := metrics().sum("xderp_conns_unauth"); got > 16 {
		t.Errorf("%v connections before login, limit 16", got)
	}
	others.relays()
	c.Close()
	until(t, "room for another when the silent ones have timed out", func() bool {
		r := newRaw(t, s, s.tcp(t))
		defer r.c.Close()
		return r.upgrade() == nil && r.login(key.NewNode(), infoUsual) == nil
	})
}

func TestConnectionsPerKey(t *testing.T) {
	needXderp(t, "it has no limit on connections of one key")
	s := start(t, opts{args: []string{"--max-connections-per-key=3"}})
	k := key.NewNode()
	sender := s.client(t)
	var held []*raw
	for range 8 {
		r := s.upgrade(t)
		if r.login(k, infoUsual) == nil {
			held = append(held, r)
		}
	}
	alive := 0
	for _, r := range held {
		r.c.Write(encode(fPing, []byte("12345678")))
		if f, err := r.frame(); err == nil && f.typ == fPong {
			alive++
		}
	}
	if alive != 3 {
		t.Errorf("%d connections of one key live, want 3", alive)
	}
	sender.sync()
	s.wantMetrics(t, map[string]float64{`xderp_connections_closed_total|"key_limit"`: 5})
}

func TestUnknownFrameLimit(t *testing.T) {
	needXderp(t, "it skips unknown frames of any length")
	s := start(t, opts{args: []string{"--max-unknown-frame=1000"}})
	r := s.client(t)
	r.send(0x7f, make([]byte, 1000))
	r.sync()
	r.write(head(0x7f, 1001))
	r.wantClosed()
	s.wantMetrics(t, map[string]float64{`xderp_connections_closed_total|"skip_limit"`: 1})
}
