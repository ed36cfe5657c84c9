// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// stream sends n numbered packets of both kinds to dst as fast as it can.
func stream(r *raw, dst key.NodePublic, n uint64) error {
	var b []byte
	for seq := range n {
		kind := "OD"[seq%2]
		b = append(b, encode(fSendPacket, dst.AppendTo(nil), kindPacket(kind, seq))...)
		if len(b) > 16<<10 || seq == n-1 {
			r.c.SetWriteDeadline(time.Now().Add(patience))
			if _, err := r.c.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	return nil
}

// order checks numbered packets per source and kind: intact, ascending.
type order struct {
	next map[string]uint64
	n    map[byte]int // by kind
}

func (o *order) check(body []byte) error {
	from, p := splitPacket(body)
	kind, seq := kindOf(p), binary.BigEndian.Uint64(p[70:])
	if !bytes.Equal(p, kindPacket(kind, seq)) {
		return fmt.Errorf("packet %d of %v is damaged", seq, from.ShortString())
	}
	id := from.String() + string(kind)
	if seq < o.next[id] {
		return fmt.Errorf("packet %d of %v after %d", seq, from.ShortString(), o.next[id]-1)
	}
	o.next[id] = seq + 1
	o.n[kind]++
	return nil
}

// collect reads at to until every one of total packets, half of each kind, is arrived or dropped for
// a reason. pause is called after each.
func (s *server) collect(t *testing.T, to *raw, total int, pause func(i int)) *order {
	t.Helper()
	o := newOrder()
	for end := time.Now().Add(patience); ; {
		f, err := to.frameBy(time.Now().Add(100 * time.Millisecond))
		switch {
		case errors.Is(err, errTimeout):
			if books := s.books(t, o, total); books == "" {
				return o
			} else if time.Now().After(end) {
				t.Fatalf("the books do not balance: %s", books)
			}
		case err == nil && f.typ == fRecvPacket:
			end = time.Now().Add(patience)
			if err := o.check(f.body); err != nil {
				t.Fatal(err)
			}
			pause(o.n['D'] + o.n['O'])
		case err != nil:
			t.Fatalf("after %v packets: %v", o.n, err)
		}
	}
}

// books is "" if all packets that were sent arrived or are counted as dropped.
func (s *server) books(t *testing.T, o *order, total int) (wrong string) {
	t.Helper()
	v := s.varz(t)
	for kind, label := range map[byte]string{'D': `"disco"`, 'O': `"other"`} {
		in, dropped := v.sum("derp_packets_received_kind", label), s.drops(t, label)
		if in != float64(total/2) || float64(o.n[kind])+dropped != in {
			wrong += fmt.Sprintf("%s: %d sent, received %v, dropped %v, %d arrived; ", label, total/2, in, dropped, o.n[kind])
		}
	}
	if out := v.value("derp_packets_sent"); out != float64(o.n['D']+o.n['O']) {
		wrong += fmt.Sprintf("derp_packets_sent %v", out)
	}
	return wrong
}

func newOrder() *order { return &order{map[string]uint64{}, map[byte]int{}} }

// Many senders to one receiver, more than it can take: what arrives is intact and in order per
// source and kind, what does not is counted.
func TestManyToOne(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, args: []string{"-tcp-write-timeout=60s"}})
			const senders, n = 10, 2000
			to := s.client(t)
			sent := make(chan error, senders)
			for range senders {
				r := s.client(t)
				go func() { sent <- stream(r, to.pub, n) }()
			}
			o := s.collect(t, to, senders*n, func(int) {})
			for range senders {
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
			t.Logf("%d disco and %d other packets of %d arrived", o.n['D'], o.n['O'], senders*n)
		})
	}
}

// A key reconnects again and again while it is sent to: never a damaged or reordered packet, the
// newest connection gets them in the end, and the books balance.
func TestReconnectUnderLoad(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			sender, k := s.client(t), key.NewNode()
			stop, sent := make(chan bool), make(chan error, 1)
			go func() {
				for seq := uint64(0); ; seq++ {
					select {
					case <-stop:
						sent <- nil
						return
					default:
					}
					sender.c.SetWriteDeadline(time.Now().Add(patience))
					if _, err := sender.c.Write(encode(fSendPacket, k.Public().AppendTo(nil), kindPacket('O', seq))); err != nil {
						sent <- err
						return
					}
				}
			}()
			o := newOrder()
			var last *raw
			for i := range 60 {
				r := s.clientAs(t, k, infoUsual)
				if last != nil {
					last.c.Close() // sometimes before, sometimes after the new one is active
				}
				last = r
				for range i % 5 {
					if err := o.check(r.want(fRecvPacket)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := o.check(last.want(fRecvPacket)); err != nil {
				t.Fatal(err)
			}
			go func() { // the sender must not be held up by a full receiver
				for {
					if _, err := last.frame(); err != nil {
						return
					}
				}
			}()
			close(stop)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			s.conservationAfterRace(t)
		})
	}
}

// The queue depth of derper's environment variable: so many packets wait per kind, no more.
func TestQueueDepth(t *testing.T) {
	const depth = 5
	s := start(t, opts{args: []string{"-tcp-write-timeout=60s"}, env: []string{"TS_DEBUG_DERP_PER_CLIENT_SEND_QUEUE_DEPTH=5"}})
	stuck, sender := s.narrow(t), s.client(t)
	s.fill(t, sender, stuck)
	stuck.c.Close()
	until(t, "the stuck client to go", func() bool {
		return s.varz(t).value("derp_current_connections") == 1
	})
	for _, kind := range []string{`"disco"`, `"other"`} {
		// The one being written may be counted with them, or as a write error.
		if got := s.varz(t).sum("derp_packets_dropped", `"gone_disconnected"`, kind); got < depth || got > depth+1 {
			t.Errorf("%v packets of kind %s were queued, want %d", got, kind, depth)
		}
	}
}

// shredder writes byte by byte, so that nothing arrives whole.
type shredder struct {
	*net.TCPConn
	n int // bytes at a time
}

func (s *shredder) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += s.n {
		if _, err := s.TCPConn.Write(b[i:min(i+s.n, len(b))]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// TLS handshake, HTTP, login and frames in shreds.
func TestShreddedConnection(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m})
		b := s.client(t)
		for _, n := range []int{1, 3, 100} {
			r := newRaw(t, s, s.secure(t, &shredder{s.tcp(t), n}, nil))
			if err := r.upgrade(); err != nil {
				t.Fatal(err)
			}
			if err := r.login(key.NewNode(), infoUsual); err != nil {
				t.Fatal(err)
			}
			for seq := range uint64(20) {
				r.sendTo(b.pub, kindPacket('O', seq))
				b.wantPacket(r.pub, kindPacket('O', seq))
				b.sendTo(r.pub, kindPacket('D', seq))
				r.wantPacket(b.pub, kindPacket('D', seq))
			}
		}
	}
}
