// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// deliver sends a small packet and reads it, which also subscribes to to the departure of from.
func deliver(from, to *raw) {
	from.t.Helper()
	from.sendTo(to.pub, []byte("subscribe"))
	to.wantPacket(from.pub, []byte("subscribe"))
}

func TestGoneNotHere(t *testing.T) {
	v := vectors(t)
	s := start(t, opts{})
	nobody := key.NewNode().Public()

	t.Run("ordinary packets vanish", func(t *testing.T) {
		a := s.client(t)
		for _, n := range []int{0, 1, 32, 61, 62, 1400} {
			a.sendTo(nobody, make([]byte, n))
		}
		a.quiet()
	})
	t.Run("classifier", func(t *testing.T) {
		for _, c := range v.DiscoClassifier {
			a := s.client(t)
			a.sendTo(nobody, unhex(t, c.Hex))
			if c.IsDisco {
				a.wantGone(nobody, goneNotHere)
			}
			a.quiet()
		}
	})
	t.Run("near misses of the magic", func(t *testing.T) {
		a := s.client(t)
		for i := range 6 {
			p := discoPacket(100, 0)
			p[i] ^= 1
			a.sendTo(nobody, p)
		}
		a.quiet()
	})
	t.Run("burst of three", func(t *testing.T) {
		a, b := s.client(t), s.client(t)
		begin := time.Now()
		for range 20 {
			a.sendTo(nobody, discoPacket(62, 1))
		}
		for range 3 {
			a.wantGone(nobody, goneNotHere)
		}
		if time.Since(begin) < time.Second { // else a fourth may be due
			a.sync()
		}
		// The limit is per client, not for all.
		b.sendTo(nobody, discoPacket(62, 1))
		b.wantGone(nobody, goneNotHere)
	})
	t.Run("then one per second", func(t *testing.T) {
		a := s.client(t)
		begin := time.Now()
		stop := make(chan bool)
		sent := make(chan error, 1)
		go func() {
			for {
				select {
				case <-stop:
					sent <- nil
					return
				case <-time.After(20 * time.Millisecond):
				}
				if _, err := a.c.Write(encode(fSendPacket, nobody.AppendTo(nil), discoPacket(62, 1))); err != nil {
					sent <- err
					return
				}
			}
		}()
		const n = 6
		for range n {
			a.wantGone(nobody, goneNotHere)
		}
		took := time.Since(begin)
		close(stop)
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		// 3 at once, the rest one a second. Upper bound: a busy machine, not a rate of another order.
		if took < (n-3)*time.Second-100*time.Millisecond || took > 3*n*time.Second {
			t.Errorf("%d PeerGone in %v", n, took)
		}
	})
}

func TestGoneDisconnected(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			p, receiver, sender, other := s.client(t), s.client(t), s.client(t), s.client(t)
			deliver(p, receiver)
			deliver(p, receiver) // twice subscribed is told once
			deliver(sender, p)   // sender only sent to p
			p.c.Close()
			receiver.wantGone(p.pub, goneDisconnected)
			receiver.quiet()
			sender.quiet()
			other.quiet()
		})
	}
}

func TestGoneToldOncePerConnection(t *testing.T) {
	s := start(t, opts{})
	priv := key.NewNode()
	receiver, witness := s.client(t), s.client(t)
	p := s.clientAs(t, priv, infoUsual)
	deliver(p, receiver)
	p.c.Close()
	receiver.wantGone(priv.Public(), goneDisconnected)

	// The second departure is not told to the same connection, but to one that is new to it.
	p = s.clientAs(t, priv, infoUsual)
	deliver(p, receiver)
	deliver(p, witness)
	p.c.Close()
	witness.wantGone(priv.Public(), goneDisconnected)
	receiver.quiet()

	// A new connection of the receiver's key is told again.
	again := s.clientAs(t, receiver.priv, infoUsual)
	p = s.clientAs(t, priv, infoUsual)
	deliver(p, again)
	p.c.Close()
	again.wantGone(priv.Public(), goneDisconnected)
}

func TestGoneForManySources(t *testing.T) {
	s := start(t, opts{})
	receiver := s.client(t)
	want := map[key.NodePublic]bool{}
	var peers []*raw
	for range 50 {
		p := s.client(t)
		deliver(p, receiver)
		peers = append(peers, p)
		want[p.pub] = true
	}
	for _, p := range peers {
		p.c.Close()
	}
	for range peers {
		b := receiver.want(fPeerGone)
		if k := keyOf(b); !want[k] || b[32] != goneDisconnected {
			t.Fatalf("PeerGone for %v reason %d: twice or never connected", k, b[32])
		}
		delete(want, keyOf(b))
	}
	receiver.quiet()
}

// Only the last connection of a key that closes is a departure.
func TestGoneWithDuplicates(t *testing.T) {
	s := start(t, opts{})
	priv := key.NewNode()
	receiver := s.client(t)
	p1 := s.clientAs(t, priv, infoUsual)
	p2 := s.clientAs(t, priv, infoUsual)
	p3 := s.clientAs(t, priv, infoUsual)
	for _, p := range []*raw{p1, p2, p3} {
		deliver(p, receiver)
	}
	for _, p := range []*raw{p2, p1} {
		p.c.Close()
		receiver.quiet()
	}
	deliver(p3, receiver)
	p3.c.Close()
	receiver.wantGone(priv.Public(), goneDisconnected)
	receiver.quiet()
}

// After a departure disco packets are answered with "not here".
func TestGoneThenNotHere(t *testing.T) {
	s := start(t, opts{})
	p, a := s.client(t), s.client(t)
	deliver(p, a)
	p.c.Close()
	a.wantGone(p.pub, goneDisconnected)
	a.sendTo(p.pub, discoPacket(62, 3))
	a.wantGone(p.pub, goneNotHere)
	a.quiet()
}

// A half-close ends a client quietly: what it sent before is relayed, then it is gone.
func TestHalfCloseIsDeparture(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			p, a := s.client(t), s.client(t)
			deliver(p, a) // without, derper may see the close before it subscribes a
			p.sendTo(a.pub, []byte("last words"))
			p.halfClose()
			if isXderp() {
				a.wantPacket(p.pub, []byte("last words"))
				a.wantGone(p.pub, goneDisconnected)
			} else { // derper tells of the departure by another queue
				seen := []byte{a.next().typ, a.next().typ}
				if slices.Sort(seen); !bytes.Equal(seen, []byte{fRecvPacket, fPeerGone}) {
					t.Errorf("frames %x", seen)
				}
			}
			p.wantClosed()
		})
	}
}

// The departure may be known before the first packet is written; its receiver is told all the same. Not by derper.
func TestGoneBehindOnlyPacket(t *testing.T) {
	needXderp(t, "forgets who is written a packet of a client that has left")
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			receivers := []*raw{s.client(t), s.client(t), s.client(t), s.client(t)} // at each shard
			for range 10 {
				p := s.client(t)
				for _, a := range receivers {
					p.sendTo(a.pub, []byte("only words"))
				}
				p.c.Close()
				for _, a := range receivers {
					a.wantPacket(p.pub, []byte("only words"))
					a.wantGone(p.pub, goneDisconnected)
				}
			}
			for _, a := range receivers {
				a.quiet()
			}
		})
	}
}
