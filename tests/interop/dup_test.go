// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"fmt"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// dups are n connections of one key, oldest first, and a sender to it.
type dups struct {
	t      *testing.T
	s      *server
	priv   key.NodePrivate
	c      []*raw
	sender *raw
	seq    int
}

func newDups(t *testing.T, m mode, n int) *dups {
	d := &dups{t: t, s: start(t, opts{mode: m}), priv: key.NewNode()}
	d.sender = d.s.client(t)
	for range n {
		d.add()
	}
	return d
}

func (d *dups) add() *raw {
	r := d.s.clientAs(d.t, d.priv, infoUsual)
	d.c = append(d.c, r)
	return r
}

func (d *dups) packet() []byte {
	d.seq++
	return fmt.Appendf(nil, "packet %d", d.seq)
}

// wantActive checks that packets for the key go to r, and to no other connection.
func (d *dups) wantActive(r *raw) {
	d.t.Helper()
	for range 3 {
		p := d.packet()
		d.sender.sendTo(d.priv.Public(), p)
		r.wantPacket(d.sender.pub, p)
	}
}

// awaitActive is wantActive when the server may still have to notice something (a close, a frame
// that has no answer): packets are sent until one reaches r; none may reach the others.
func (d *dups) awaitActive(r *raw) {
	d.t.Helper()
	until(d.t, "a packet at the connection that should be active", func() bool {
		d.sender.sendTo(d.priv.Public(), d.packet())
		d.sender.sync()
		f, err := r.frameBy(time.Now().Add(50 * time.Millisecond))
		return err == nil && f.typ == fRecvPacket
	})
	p := d.packet()
	d.sender.sendTo(d.priv.Public(), p)
	for { // what the loop above sent may still arrive
		_, got := splitPacket(r.want(fRecvPacket))
		if string(got) == string(p) {
			return
		}
	}
}

// silent checks that r got nothing, without saying a word on it (that would make it active).
func (d *dups) silent(r *raw) {
	d.t.Helper()
	f, err := r.frameBy(time.Now().Add(50 * time.Millisecond))
	if err == nil && f.typ != fKeepAlive {
		d.t.Fatalf("inactive connection got %v", f)
	}
}

// drain reads what is under way to r.
func (d *dups) drain(r *raw) {
	for {
		if _, err := r.frameBy(time.Now().Add(50 * time.Millisecond)); err != nil {
			return
		}
	}
}

func TestDupNewestIsActive(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			d := newDups(t, m, 0)
			for i := range 4 {
				r := d.add()
				d.wantActive(r)
				for _, old := range d.c[:i] {
					d.silent(old)
				}
			}
		})
	}
}

// Any frame from a connection makes it the active one.
func TestDupSpeakerIsActive(t *testing.T) {
	d := newDups(t, plain, 2)
	c1, c2 := d.c[0], d.c[1]
	d.wantActive(c2)
	c1.sync()
	d.wantActive(c1)
	c2.sync()
	d.wantActive(c2)
	d.silent(c1)

	other := d.s.client(t)
	for _, f := range []struct {
		name string
		b    []byte
	}{
		{"unknown frame", encode(0x7f, []byte("abc"))},
		{"type 0", encode(0)},
		{"KeepAlive", encode(fKeepAlive)},
		{"Pong", encode(fPong, make([]byte, 8))},
		{"NotePreferred", encode(fNotePreferred, []byte{1})},
		{"SendPacket", encode(fSendPacket, other.pub.AppendTo(nil), []byte("x"))},
		{"second ClientInfo", encode(fClientInfo, make([]byte, 100))},
		{"head of an unknown frame whose body has not come", []byte{0x7f, 0, 0, 0, 1}},
	} {
		t.Run(f.name, func(t *testing.T) {
			d.t = t
			c1.write(f.b)
			d.awaitActive(c1)
			d.drain(c2) // what came before the frame was seen
			d.wantActive(c1)
			d.silent(c2)
			c1, c2 = c2, c1
		})
	}
}

func TestDupPingOfOlderWithThree(t *testing.T) {
	d := newDups(t, plain, 3)
	for _, i := range []int{0, 1, 2, 1, 0, 2} {
		d.c[i].sync()
		d.wantActive(d.c[i])
	}
}

func TestDupCloseActiveOneLeft(t *testing.T) {
	d := newDups(t, plain, 2)
	d.wantActive(d.c[1])
	d.c[1].c.Close()
	d.awaitActive(d.c[0])
	d.wantActive(d.c[0])
}

func TestDupCloseInactive(t *testing.T) {
	d := newDups(t, plain, 2)
	d.c[0].c.Close()
	d.wantActive(d.c[1])
	until(t, "one connection of the key", func() bool {
		return d.s.varz(t).value("derp_current_dup_client_conns") == 0
	})
	d.wantActive(d.c[1])
}

// Three connect and say nothing. The first counts as having spoken, the second does not.
func TestDupThreeSilent(t *testing.T) {
	d := newDups(t, plain, 3)
	d.wantActive(d.c[2])
	d.c[2].c.Close()
	d.awaitActive(d.c[0])
	d.silent(d.c[1])
}

// With more than one left, the one that spoke last is chosen.
func TestDupCloseActiveMoreLeft(t *testing.T) {
	for _, c := range []struct {
		name  string
		n     int
		speak []int // in this order, before the active one closes
		close int
		want  int
	}{
		{"second spoke", 3, []int{1, 2}, 2, 1},
		{"first spoke after second", 3, []int{1, 0, 2}, 2, 0},
		{"second spoke after first", 3, []int{0, 1, 2}, 2, 1},
		{"four silent: third registered last", 4, nil, 3, 2},
		{"four, first spoke last", 4, []int{0, 3}, 3, 0},
		{"first active closes, third spoke before", 3, []int{2, 0}, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDups(t, plain, c.n)
			for _, i := range c.speak {
				d.c[i].sync()
			}
			d.wantActive(d.c[c.close])
			d.c[c.close].c.Close()
			d.awaitActive(d.c[c.want])
			for i, r := range d.c {
				if i != c.close && i != c.want {
					d.silent(r)
				}
			}
		})
	}
}

// Both connections of a key stay open and are served as senders.
func TestDupBothSend(t *testing.T) {
	d := newDups(t, plain, 2)
	for range 3 {
		for _, c := range d.c {
			c.sendTo(d.sender.pub, []byte("from either"))
			d.sender.wantPacket(d.priv.Public(), []byte("from either"))
		}
	}
	d.s.wantVarz(t, nil, map[string]float64{
		"derp_current_dup_client_keys": 1, "derp_current_dup_client_conns": 2, "derp_total_dup_client_conns": 1,
		"derp_current_connections": 3, "derp_clients_local": 2,
	})
}
