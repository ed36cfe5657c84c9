// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mrand "math/rand/v2"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// The exchange keeps data and acknowledgements in flight below the 32 packets a relay queues per
// client, so nothing may be lost and everything is compared.
const (
	exchangeWindow = 20 // data packets in flight per direction
	ackEvery       = 4
)

var noise = func() []byte {
	b := make([]byte, 2*maxPacket)
	rand.Read(b)
	return b
}()

// payload is packet number seq of a stream: "D", the number, then bytes found by the number.
func payload(stream, seq uint64, size int) []byte {
	h := mrand.New(mrand.NewPCG(stream, seq)).IntN(maxPacket)
	b := append([]byte{'D'}, binary.BigEndian.AppendUint64(nil, seq)...)
	if size < len(b) {
		size = len(b)
	}
	return append(b, noise[h:h+size-len(b)]...)
}

// sizes gives the same sizes to both ends: mostly small, some up to the maximum.
func sizes(stream, seq uint64) int {
	r := mrand.New(mrand.NewPCG(stream, seq+1<<40))
	switch r.IntN(10) {
	case 0:
		return 1 + r.IntN(maxPacket)
	case 1:
		return maxPacket
	case 2:
		return 1 + r.IntN(9000)
	default:
		return 1 + r.IntN(1500)
	}
}

// side is one end of an exchange: a raw connection with one writer and one reader goroutine.
type side struct {
	r       *raw
	peer    key.NodePublic
	out, in uint64 // stream numbers
	sizes   func(stream, seq uint64) int
	n       uint64
	credit  chan int // acknowledged packets
	acks    chan uint64
}

func newSide(r *raw, peer key.NodePublic, out, in, n uint64, sizes func(stream, seq uint64) int) *side {
	return &side{r, peer, out, in, sizes, n, make(chan int, n), make(chan uint64, n)}
}

// write sends n packets within the window, and the acknowledgements the reader asks for.
func (s *side) write() error {
	window := exchangeWindow
	for seq := uint64(0); ; {
		credit, acks := s.credit, s.acks
		var ready chan struct{}
		if window > 0 && seq < s.n {
			ready = closed
		}
		select {
		case k := <-credit:
			window += k
		case a, ok := <-acks:
			if !ok {
				s.acks = nil
				break
			}
			if err := s.put(binary.BigEndian.AppendUint64([]byte{'A'}, a)); err != nil {
				return err
			}
		case <-ready:
			if err := s.put(payload(s.out, seq, s.sizes(s.out, seq))); err != nil {
				return err
			}
			seq++
			window--
		}
		if seq == s.n && s.acks == nil {
			return nil
		}
	}
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (s *side) put(p []byte) error {
	s.r.c.SetWriteDeadline(time.Now().Add(patience))
	_, err := s.r.c.Write(encode(fSendPacket, s.peer.AppendTo(nil), p))
	return err
}

// read checks every packet of the peer, and ends when all have come and all of ours are acknowledged.
func (s *side) read() error {
	var got, acked uint64
	for got < s.n || acked < s.n {
		f, err := s.r.frame()
		if err != nil {
			return fmt.Errorf("after %d packets, %d acknowledged: %v", got, acked, err)
		}
		if f.typ == fKeepAlive {
			continue
		}
		if f.typ != fRecvPacket {
			return fmt.Errorf("unexpected %v", f)
		}
		from, p := splitPacket(f.body)
		if from != s.peer {
			return fmt.Errorf("packet from %v", from)
		}
		if len(p) == 9 && p[0] == 'A' {
			a := binary.BigEndian.Uint64(p[1:])
			s.credit <- int(a - acked)
			acked = a
			continue
		}
		if want := payload(s.in, got, s.sizes(s.in, got)); !bytes.Equal(p, want) {
			return fmt.Errorf("packet %d: %d bytes differ from the %d sent", got, len(p), len(want))
		}
		got++
		if got%ackEvery == 0 || got == s.n {
			s.acks <- got
		}
		if got == s.n {
			close(s.acks)
		}
	}
	return nil
}

// exchange runs both directions at once between two clients.
func exchange(t testing.TB, a, b *raw, n uint64) {
	t.Helper()
	exchangeSizes(t, a, b, n, sizes)
}

func exchangeSizes(t testing.TB, a, b *raw, n uint64, sizes func(stream, seq uint64) int) {
	t.Helper()
	if err := converse(a, b, n, sizes); err != nil {
		t.Fatal(err)
	}
}

// converse is exchange for use beside the test's own goroutine.
func converse(a, b *raw, n uint64, sizes func(stream, seq uint64) int) error {
	errs := make(chan error, 4)
	for _, s := range []*side{newSide(a, b.pub, 1, 2, n, sizes), newSide(b, a.pub, 2, 1, n, sizes)} {
		for _, f := range []func() error{s.write, s.read} {
			go func() { errs <- f() }()
		}
	}
	for range 4 {
		if err := <-errs; err != nil {
			a.c.Close()
			b.c.Close()
			return err
		}
	}
	return nil
}

func TestExchange(t *testing.T) {
	n := uint64(envInt("XDERP_PACKETS", 3000))
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			begin := time.Now()
			exchange(t, s.client(t), s.client(t), n)
			t.Logf("%d packets each way in %v", n, time.Since(begin).Round(time.Millisecond))
			s.wantNoDrops(t)
		})
	}
}

// Many pairs at once, so that a relay with several threads crosses them.
func TestExchangeManyPairs(t *testing.T) {
	n := uint64(envInt("XDERP_PACKETS", 3000) / 10)
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			done := make(chan bool)
			const pairs = 8
			for range pairs {
				a, b := s.client(t), s.client(t)
				go func() {
					defer func() { done <- true }()
					exchange(t, a, b, n)
				}()
			}
			for range pairs {
				<-done
			}
			s.wantNoDrops(t)
		})
	}
}

// derpprobe keeps up to 30 packets of 65536 bytes in flight towards one client and needs them all.
func TestBigPacketsInFlight(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			a, b := s.client(t), s.client(t)
			for round := range uint64(5) {
				for i := range uint64(30) {
					a.sendTo(b.pub, payload(round, i, maxPacket))
				}
				a.sync() // all 30 are in the relay's hands before b reads one
				for i := range uint64(30) {
					b.wantPacket(a.pub, payload(round, i, maxPacket))
				}
			}
			s.wantNoDrops(t)
		})
	}
}

// Packets are relayed one for one whatever the cut of the stream that carries them.
func TestFramesSplitAndJoined(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			a, b := s.client(t), s.client(t)
			var flight []byte
			var want [][]byte
			for i := range uint64(12) {
				p := payload(9, i, []int{9, 40, 1, 700, 9, 1400}[i%6])
				want = append(want, p)
				flight = append(flight, encode(fSendPacket, b.pub.AppendTo(nil), p)...)
				flight = append(flight, encode(fPing, []byte("filler..."))...)
				flight = append(flight, encode(0x7f, make([]byte, i))...)
			}
			flight = append(flight, encode(fSendPacket, b.pub.AppendTo(nil))...) // empty payload
			want = append(want, nil)
			for _, step := range []int{1, 2, 5, 7, 36, 37, 38, 1000, len(flight)} {
				for i := 0; i < len(flight); i += step {
					a.write(flight[i:min(i+step, len(flight))])
				}
				for _, p := range want {
					b.wantPacket(a.pub, p)
				}
				for f := a.next(); ; f = a.next() { // at least one Pong; surplus ones may be left out
					if f.typ != fPong {
						t.Fatalf("sender got %v", f)
					}
					if a.br.Buffered() == 0 {
						break
					}
				}
			}
		})
	}
}

func TestEverySizeAroundLimits(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	a, b := s.client(t), s.client(t)
	list := []int{0, 1, 2, 31, 32, 33, 61, 62, 63, 1279, 1280, 2047, 2048, 4090, 4095, 4096, 8191, 8192, 16315,
		16341, 16346, 16347, 16348, 16379, 16383, 16384, 16385, 32767, 32768, 65499, 65530, 65535, 65536}
	for i, n := range list {
		p := noise[i*100 : i*100+n]
		a.sendTo(b.pub, p)
		b.wantPacket(a.pub, p)
	}
}
