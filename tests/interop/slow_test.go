// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/binary"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// By default the kernel gives up a connection that takes nothing for 15 s, which is not what these tests are about.
const kernelsPatience = "-tcp-user-timeout=5m"

// narrow logs in over a connection with a small receive buffer, so that the server soon cannot
// write to a client that does not read.
func (s *server) narrow(t testing.TB) *raw {
	t.Helper()
	return s.narrowAs(t, infoUsual)
}

func (s *server) narrowAs(t testing.TB, info string) *raw {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		})
	}}
	r := newRaw(t, s, s.secure(t, s.tcpBy(t, &d), nil))
	if err := r.upgrade(); err != nil {
		t.Fatal(err)
	}
	if err := r.login(key.NewNode(), info); err != nil {
		t.Fatal(err)
	}
	return r
}

// conservationAfterRace is conservation where packets were sent to a client just as it went: derper
// loses uncounted what is queued between its last look at the queue and the client's removal.
func (s *server) conservationAfterRace(t testing.TB) {
	t.Helper()
	if isXderp() {
		s.conservation(t)
	}
}

// conservation: every packet received is sent, forwarded, dropped for a reason, or still queued.
func (s *server) conservation(t testing.TB) {
	t.Helper()
	var last string
	until(t, "received = sent + dropped", func() bool {
		v := s.varz(t)
		in := v.value("derp_packets_received") + v.value("derp_packets_forwarded_in")
		out := v.value("derp_packets_sent") + v.value("derp_packets_forwarded_out") + s.drops(t)
		queued := 0.0
		if isXderp() {
			queued = s.metrics(t).sum("xderp_packets_queued")
		}
		last = fmt.Sprintf("received %v, sent, forwarded and dropped %v, queued %v", in, out, queued)
		return in == out+queued
	})
	t.Log(last)
}

// fill sends packets of both kinds to a client that does not read until the server can pass on none.
func (s *server) fill(t testing.TB, sender, stuck *raw) {
	t.Helper()
	last, same := -1.0, 0
	until(t, "nothing to reach the stuck receiver any more", func() bool {
		for range 100 {
			sender.sendTo(stuck.pub, make([]byte, 1400))
			sender.sendTo(stuck.pub, discoPacket(1400, 1))
		}
		sender.sync()
		now := s.varz(t).value("derp_packets_sent")
		if now != last {
			last, same = now, 0
		}
		same++
		return same == 10 // once or twice can be a writer that was not scheduled
	})
}

// A receiver that never reads: its sender is not blocked, others keep flowing, drops are named.
func TestReceiverThatNeverReads(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, args: []string{"-tcp-write-timeout=60s", kernelsPatience}})
			stuck, sender, other, others := s.narrow(t), s.client(t), s.client(t), s.pair(t)
			p := make([]byte, 1400)
			s.fill(t, sender, stuck)
			// It stays stuck for 60 s; meanwhile the sender and all others are served.
			for range 50 {
				for range 10 {
					sender.sendTo(stuck.pub, p)
					sender.sendTo(stuck.pub, discoPacket(200, 1))
				}
				deliver(sender, other)
				deliver(other, sender)
				others.relays()
			}
			v := s.varz(t)
			if got := v.value("derp_current_connections"); got != 5 {
				t.Errorf("%v connections, want 5", got)
			}
			if v.sum("derp_packets_dropped", `"queue_head"`, `"disco"`) == 0 {
				t.Error("no disco packet dropped")
			}
			stuck.c.Close()
			until(t, "the stuck client to go", func() bool {
				return s.varz(t).value("derp_current_connections") == 4
			})
			until(t, "what was queued for it to be counted gone_disconnected", func() bool {
				return s.varz(t).sum("derp_packets_dropped", `"gone_disconnected"`) > 0
			})
			s.conservation(t)
		})
	}
}

// A receiver that takes no frame for the write timeout is disconnected.
func TestWriteTimeout(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, args: []string{"-tcp-write-timeout=2s"}})
			stuck, sender, others := s.narrow(t), s.client(t), s.pair(t)
			p := make([]byte, 1400)
			begin := time.Now()
			until(t, "the stuck client to be disconnected", func() bool {
				for range 200 {
					sender.sendTo(stuck.pub, p)
				}
				sender.sync()
				others.relays()
				return s.varz(t).value("derp_current_connections") == 3
			})
			if d := time.Since(begin); d < 1900*time.Millisecond {
				t.Errorf("disconnected after %v already", d)
			}
			s.wantVarz(t, nil, map[string]float64{"derp_sclient_write_timeouts": 1})
			until(t, "drops by queue_head and gone_disconnected", func() bool {
				v := s.varz(t)
				return v.sum("derp_packets_dropped", `"queue_head"`) > 0 && v.sum("derp_packets_dropped", `"gone_disconnected"`) > 0
			})
			s.conservationAfterRace(t)
			// Its key is gone: disco is answered so.
			sender.sendTo(stuck.pub, discoPacket(62, 1))
			sender.wantGone(stuck.pub, goneNotHere)
		})
	}
}

// Mesh clients have 30 s: a stuck one is still there when an ordinary one is gone.
func TestWriteTimeoutNotForMesh(t *testing.T) {
	s := start(t, opts{mesh: true, args: []string{"-tcp-write-timeout=500ms", kernelsPatience}})
	stuck, sender, control := s.narrowAs(t, infoMesh), s.client(t), s.narrow(t)
	p := make([]byte, 1400)
	begin := time.Now()
	until(t, "the ordinary stuck client to be disconnected", func() bool {
		for range 200 {
			sender.sendTo(stuck.pub, p)
			sender.sendTo(control.pub, p)
		}
		sender.sync()
		return s.varz(t).value("derp_sclient_write_timeouts") > 0
	})
	var left float64
	late := func() bool { return time.Since(begin) > 30*time.Second }
	until(t, "the ordinary one to be gone, and no other", func() bool {
		left = s.varz(t).value("derp_current_connections")
		return left == 2 || left < 2 && late()
	})
	if left < 2 {
		t.Skipf("it took %v, and mesh clients have 30 s", time.Since(begin))
	}
}

// A slow reader within the limits sees what it gets intact and in order per kind; what is missing
// at the end is exactly what was counted as dropped.
func TestSlowReader(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, args: []string{"-tcp-write-timeout=60s"}})
			slow, sender := s.narrow(t), s.client(t)
			const n = 12000 // more than all buffers on the way hold
			sent := make(chan error, 1)
			go func() { sent <- stream(sender, slow.pub, n) }()
			o := s.collect(t, slow, n, func(i int) {
				if i%100 == 0 {
					time.Sleep(2 * time.Millisecond) // slow is the point here
				}
			})
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			t.Logf("%d disco and %d other packets of %d arrived", o.n['D'], o.n['O'], n)
		})
	}
}

func kindOf(p []byte) byte {
	if p[0] == 'T' {
		return 'D'
	}
	return 'O'
}

// kindPacket is packet seq of a kind, 80 to 2079 bytes.
func kindPacket(kind byte, seq uint64) []byte {
	size := 80 + int(seq*977%2000)
	p := append([]byte(nil), noise[seq*13%maxPacket:][:size]...)
	p[0] = kind
	if kind == 'D' {
		copy(p, discoPacket(62, 0)[:6])
	}
	binary.BigEndian.PutUint64(p[70:], seq)
	return p
}
