// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// startTwins starts a relay that lets the kernel move packets of TLS clients.
func startTwins(t testing.TB, o opts) *server {
	t.Helper()
	if o.dirty { // it will be killed
		kernelComplaints(t, killedUnread)
	} else {
		kernelComplaints(t)
	}
	o.mode = tlsName
	o.args = append(o.args, "--splice-tls=on")
	s := startBPF(t, bpffs(t), o)
	until(t, "a line about twins", func() bool {
		return strings.Contains(s.log.String(), "event=feature name=splice_tls state=on")
	})
	return s
}

// byTwins is how many packets the kernel has moved.
func (s *server) byTwins(t testing.TB) float64 {
	t.Helper()
	return s.metrics(t).value("xderp_twin_redirected_total")
}

// twinPair is two clients whose packets the kernel moves by now.
func (s *server) twinPair(t testing.TB) (a, b *raw) {
	t.Helper()
	a, b = s.client(t), s.client(t)
	s.untilTwins(t, a, b)
	return a, b
}

func (s *server) untilTwins(t testing.TB, a, b *raw) {
	t.Helper()
	until(t, "the kernel to move all packets", func() bool {
		before := s.byTwins(t)
		pingPong(t, a, b, 10)
		return s.byTwins(t) == before+20
	})
}

func TestTwinMovesAll(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startTwins(t, opts{args: []string{shards}})
			a, b := s.twinPair(t)
			n := 500
			if testing.Short() {
				n = 100
			}
			before := s.byTwins(t)
			pingPong(t, a, b, n)
			m := s.metrics(t)
			if got := m.value("xderp_twin_redirected_total") - before; got != float64(2*n) {
				t.Errorf("of %d packets the kernel moved %v", 2*n, got)
			}
			if got := m.value("xderp_twin_peers"); got != 2 {
				t.Errorf("%v twins, want 2", got)
			}
			if moved, came := m.value("xderp_twin_redirected_total"), m.value("xderp_packets_twin_total"); moved != came {
				t.Errorf("the kernel moved %v packets, shards got %v", moved, came)
			}
			if slices.Contains(serverArgs, "--ktls=on") && m.value("xderp_ktls_active") < 2 {
				t.Errorf("%v of their connections are the kernel's", m.value("xderp_ktls_active"))
			}
			s.wantNoDrops(t)
			s.conservation(t)
		})
	}
}

// Every byte compared: packets of all sizes both ways, those that are too long for a twin among them, and none overtakes another.
func TestTwinExchange(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startTwins(t, opts{args: []string{shards}})
			const pairs = 3
			n := uint64(envInt("XDERP_PACKETS", 3000) / pairs)
			done := make(chan error)
			for range pairs {
				a, b := s.client(t), s.client(t)
				go func() { done <- converse(a, b, n, mostlySmall) }()
			}
			for range pairs {
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			a, b := s.twinPair(t)
			exchange(t, a, b, n/4)
			t.Logf("%v packets by the kernel", s.byTwins(t))
			s.wantNoDrops(t)
			s.conservation(t)
		})
	}
}

// One that does not read costs its own queue, and ends.
func TestTwinReceiverThatNeverReads(t *testing.T) {
	s := startTwins(t, opts{args: []string{"--shards=2", "-tcp-write-timeout=1s"}})
	a, stuck := s.client(t), s.narrow(t)
	s.untilTwins(t, a, stuck)
	until(t, "packets to be dropped", func() bool {
		for range 50 {
			a.sendTo(stuck.pub, make([]byte, 8000))
		}
		m := s.metrics(t)
		if rss := m.value("process_resident_memory_bytes"); rss > 1<<30 {
			t.Fatalf("%v bytes of memory", rss)
		}
		return m.sum("xderp_packets_dropped_total", `reason="queue_head"`) > 0
	})
	until(t, "the receiver to be closed", func() bool { return s.varz(t).value("derp_current_connections") == 1 })
	if got := s.metrics(t).sum("xderp_packets_dropped_total", `reason="twin_full"`); got != 0 {
		t.Errorf("%v packets waited for its shard, which had nothing else to do", got)
	}
	until(t, "its twin to be gone", func() bool { return s.metrics(t).value("xderp_twin_peers") == 1 })
	s.conservation(t)
	a.wantGone(stuck.pub, goneDisconnected)
}

// More packets at once than may wait in a twin: what is too much is dropped by name, and all is counted.
func TestTwinFull(t *testing.T) {
	s := startTwins(t, opts{args: []string{"--shards=1", "--splice-tls-queue=64"}})
	a, b := s.twinPair(t)
	before := s.byTwins(t)
	const n = 300 // in one record
	var burst []byte
	for i := range n {
		burst = append(burst, encode(fSendPacket, b.pub.AppendTo(nil), binary.BigEndian.AppendUint32(nil, uint32(i)))...)
	}
	a.write(burst)
	a.sync()
	m := s.metrics(t)
	moved, dropped := m.value("xderp_twin_redirected_total")-before, m.value("xderp_twin_dropped_full_total")
	if moved < 64 || dropped == 0 || moved+dropped != n {
		t.Errorf("of %d packets %v were moved, %v dropped", n, moved, dropped)
	}
	if named := m.sum("xderp_packets_dropped_total", `reason="twin_full"`); named != dropped {
		t.Errorf("%v dropped by name, %v by the program", named, dropped)
	}
	last := -1
	for range int(moved) {
		_, p := splitPacket(b.want(fRecvPacket))
		if seq := int(binary.BigEndian.Uint32(p)); seq <= last {
			t.Fatalf("packet %d after %d", seq, last)
		} else {
			last = seq
		}
	}
	s.conservation(t)
	s.untilTwins(t, a, b)
}

// Packets for more clients than a shard looks after in one turn: the rest has its turn, too, with nothing else to wake up the shard.
func TestTwinManyAtOnce(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startTwins(t, opts{args: []string{shards}})
			a := s.client(t)
			var others []*raw
			for range 600 { // on one shard or on two
				others = append(others, s.client(t))
			}
			send := func(seq uint64) {
				var all []byte
				for _, b := range others {
					all = append(all, encode(fSendPacket, b.pub.AppendTo(nil), binary.BigEndian.AppendUint64(nil, seq))...)
				}
				a.write(all)
				for _, b := range others {
					b.wantPacket(a.pub, binary.BigEndian.AppendUint64(nil, seq))
				}
			}
			send(0)
			before := s.byTwins(t)
			for seq := range uint64(3) {
				send(1 + seq)
			}
			if got := s.byTwins(t) - before; got != float64(3*len(others)) {
				t.Errorf("of %d packets the kernel moved %v", 3*len(others), got)
			}
			s.wantNoDrops(t)
			s.conservation(t)
		})
	}
}

// Clients for whom there is no twin are served without, by name.
func TestTwinRefused(t *testing.T) {
	s := startTwins(t, opts{args: []string{"--shards=2", "--splice-peers=4"}})
	// Two places are still warm from the trial at the start.
	var all []*raw
	for range 6 {
		all = append(all, s.client(t))
	}
	m := s.metrics(t)
	if joined, refused := m.value("xderp_twin_peers"), m.value("xderp_twin_refused_total"); joined+refused != 6 || refused < 2 {
		t.Errorf("%v clients have twins, %v were refused one", joined, refused)
	}
	for i, from := range all {
		for j, to := range all {
			if i != j {
				for seq := range uint64(5) {
					from.sendTo(to.pub, numberedPacket(seq))
				}
				for seq := range uint64(5) {
					to.wantPacket(from.pub, numberedPacket(seq))
				}
			}
		}
	}
	s.wantNoDrops(t)
	s.conservation(t)
}

// Clients come, some of them again with the key they had, and go, also by a reset, while the kernel moves packets of others.
func TestTwinChurn(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startTwins(t, opts{args: []string{shards}})
			a, b := s.twinPair(t)
			stop, done := make(chan bool), make(chan error)
			go func() { done <- numbered(a, b, stop) }()
			for i := range envInt("XDERP_CHURN", 100) / 4 {
				x, y := s.client(t), s.client(t)
				pingPong(t, x, y, 3)
				if i%2 == 0 {
					reset(x.c)
				} else {
					x.c.Close()
				}
				y.wantGone(x.pub, goneDisconnected)
				again := s.clientAs(t, x.priv, infoUsual)
				pingPong(t, again, y, 3)
				again.c.Close()
				y.c.Close()
			}
			close(stop)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			until(t, "all of them to be gone", func() bool { return s.metrics(t).value("xderp_twin_peers") == 2 })
			s.conservation(t)
		})
	}
}

// A client that comes back with its key is served by the kernel again. Whoever it talks to has been told once that it left, and is not told twice.
func TestTwinComesBack(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startTwins(t, opts{args: []string{shards}})
			a, b := s.twinPair(t)
			a.c.Close()
			b.wantGone(a.pub, goneDisconnected)
			s.untilTwins(t, s.clientAs(t, a.priv, infoUsual), b)
			s.wantNoDrops(t)
			s.conservation(t)
		})
	}
}

// numbered sends packets one by one until it is stopped.
func numbered(a, b *raw, stop chan bool) error {
	for seq := uint64(0); ; seq++ {
		select {
		case <-stop:
			return nil
		default:
		}
		want := numberedPacket(seq)
		if _, err := a.c.Write(encode(fSendPacket, b.pub.AppendTo(nil), want)); err != nil {
			return err
		}
		f, err := b.frame()
		if err != nil {
			return err
		}
		if from, p := splitPacket(f.body); f.typ != fRecvPacket || from != a.pub || !bytes.Equal(p, want) {
			return fmt.Errorf("instead of packet %d: %v", seq, f)
		}
	}
}

// A peer's last packets come before the news that it left, all of them, and the news come.
func TestTwinGoneOrder(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startTwins(t, opts{args: []string{shards}})
			b := s.client(t)
			rounds := 30
			if testing.Short() {
				rounds = 9 // each case three times
			}
			for round := range rounds {
				a := s.client(t)
				n := uint64(round * 20 / rounds)
				if round%3 > 0 {
					s.untilTwins(t, a, b)
				}
				var all []byte
				for seq := range 1 + n {
					all = append(all, encode(fSendPacket, b.pub.AppendTo(nil), numberedPacket(seq))...)
				}
				a.write(all)
				a.c.Close()
				for seq := range 1 + n {
					b.wantPacket(a.pub, numberedPacket(seq))
				}
				b.wantGone(a.pub, goneDisconnected)
			}
			s.wantNoDrops(t)
			s.conservation(t)
		})
	}
}

// The relay dies in the midst of packets, some of them in twins: the kernel closes all, and has nothing to say about it.
func TestTwinKilled(t *testing.T) {
	for range envInt("XDERP_KILLS", 2) {
		s := startTwins(t, opts{dirty: true, args: []string{"--shards=2"}})
		var ends [4][2]*raw
		for i := range ends {
			ends[i][0], ends[i][1] = s.twinPair(t)
		}
		var floods []*flood
		for _, e := range ends {
			floods = append(floods, startFlood(e[0], e[1], 8))
		}
		before := s.byTwins(t)
		until(t, "packets to flow", func() bool { return s.byTwins(t) > before+1000 })
		s.stopped = true
		s.kill()
		for _, f := range floods {
			for range 2 {
				if err := <-f.errs; errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("not closed: %v", err)
				}
			}
		}
	}
}

// A second connection of a key takes over at once, whatever the kernel did for the first.
func TestTwinDuplicate(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startTwins(t, opts{args: []string{shards}})
			a, b := s.twinPair(t)
			s.speakInTurn(t, a, b)
		})
	}
}

// Packets that are too long for a twin go by way of the shards: nothing overtakes them there, and they overtake nothing.
func TestTwinOrder(t *testing.T) {
	s := startTwins(t, opts{args: []string{"--shards=2", "-send-queue-depth=1024"}})
	const rounds, each = 100, 4
	size := func(seq uint64) int {
		if seq%each == 1 {
			return 17000
		}
		return 20
	}
	done := make(chan error)
	const pairs = 4 // on one shard or on two
	for range pairs {
		a, b := s.twinPair(t)
		go func() {
			var err error
			for seq := uint64(0); seq < rounds*each && err == nil; seq++ {
				_, err = a.c.Write(encode(fSendPacket, b.pub.AppendTo(nil), payload(3, seq, size(seq))))
			}
			done <- err
		}()
		go func() {
			for seq := range uint64(rounds * each) {
				f, err := b.frame()
				if err != nil || f.typ != fRecvPacket {
					done <- fmt.Errorf("instead of packet %d: %v, %v", seq, f.typ, err)
					return
				}
				if _, p := splitPacket(f.body); !bytes.Equal(p, payload(3, seq, size(seq))) {
					done <- fmt.Errorf("instead of packet %d: one of %d bytes", seq, len(p))
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 * pairs {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if s.metrics(t).value("xderp_packets_cross_out_total") == 0 {
		t.Log("no two clients were on different shards")
	}
	s.wantNoDrops(t)
	s.conservation(t)
}
