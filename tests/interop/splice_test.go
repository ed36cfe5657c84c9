// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tailscale.com/types/key"
)

// startSplice starts a relay that lets the kernel move packets of plain clients.
func startSplice(t testing.TB, mode string, o opts) *server {
	t.Helper()
	kernelComplaints(t)
	o.args = append(o.args, "--splice="+mode)
	s := startBPF(t, bpffs(t), o)
	until(t, "a line about the splice", func() bool { return strings.Contains(s.log.String(), "event=feature name=splice") })
	if !strings.Contains(s.log.String(), "event=feature name=splice state="+mode) {
		t.Fatalf("no line says that the splice is %s", mode)
	}
	return s
}

// moved is how many packets each path has handed to their destinations.
func (s *server) moved(t testing.TB) (shard, kernel float64) {
	t.Helper()
	v := s.metrics(t)
	return v.value(`xderp_path_packets_total{path="uring"}`), v.value(`xderp_path_packets_total{path="splice"}`)
}

// pingPong sends one packet at a time there and back, and checks every byte.
func pingPong(t testing.TB, a, b *raw, n int) {
	t.Helper()
	for i := range n {
		p := payload(7, uint64(i), 9+i%1400)
		a.sendTo(b.pub, p)
		b.wantPacket(a.pub, p)
		b.sendTo(a.pub, p)
		a.wantPacket(b.pub, p)
	}
}

// splicedPair is two clients whose packets the kernel moves by now.
func (s *server) splicedPair(t testing.TB) (a, b *raw) {
	t.Helper()
	a, b = s.client(t), s.client(t)
	s.untilSpliced(t, a, b)
	return a, b
}

func (s *server) untilSpliced(t testing.TB, a, b *raw) {
	t.Helper()
	until(t, "the kernel to move all packets", func() bool {
		before, _ := s.moved(t)
		pingPong(t, a, b, 50)
		after, _ := s.moved(t)
		return before == after
	})
}

var shardCounts = []string{"--shards=1", "--shards=2"}

func TestSpliceMovesAll(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{args: []string{shards}})
			a, b := s.splicedPair(t)
			shard, kernel := s.moved(t)
			pingPong(t, a, b, 500)
			if x, y := s.moved(t); x != shard || y != kernel+1000 {
				t.Errorf("of 1000 packets a shard moved %v, the kernel %v", x-shard, y-kernel)
			}
			s.wantNoDrops(t)
			s.conservation(t)
			for _, r := range []*raw{a, b} {
				awaitPeers(t, bpffsOf(s), "all packets in derp_peers", func(m map[key.NodePublic]bpfPeer) bool {
					p := m[r.pub]
					return p.FramesIn == p.FramesOut && float64(p.FramesIn) == (shard+kernel+1000)/2 && p.BytesIn == p.BytesOut
				})
			}
		})
	}
}

// bpffsOf is the directory of its pins.
func bpffsOf(s *server) string {
	for i, a := range s.args {
		if a == "--bpffs" {
			return s.args[i+1]
		}
	}
	return ""
}

// Everything at once, every byte compared: whole and cut packets, up to the longest there are, both ways.
func TestSpliceExchange(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{args: []string{shards}})
			a, b := s.splicedPair(t)
			exchange(t, a, b, uint64(envInt("XDERP_PACKETS", 1000)))
			shard, kernel := s.moved(t)
			t.Logf("by shards %v, by the kernel %v", shard, kernel)
			s.wantNoDrops(t)
			s.conservation(t)
		})
	}
}

// handOvers: a sends to b by the kernel, with a few packets in flight, while a shard writes to b too: packets of m, whose connection is
// not the kernel's, and answers to pings. It ends when the stream has changed hands n times, and everything has arrived.
type handOvers struct {
	t        *testing.T
	s        *server
	a, b, m  *raw
	writing  sync.Mutex // of b
	stop     chan struct{}
	acks     chan bool
	sent     [3]uint64 // by a, m, and pings; final once senders have ended
	senders  sync.WaitGroup
	allSent  chan struct{}
	received chan error
}

func (h *handOvers) stopped() bool {
	select {
	case <-h.stop:
		return true
	default:
		return false
	}
}

func (h *handOvers) sendA() error {
	for !h.stopped() {
		select {
		case <-h.acks:
		case <-time.After(patience):
			return fmt.Errorf("after %d packets nothing comes back", h.sent[0])
		}
		if _, err := h.a.c.Write(encode(fSendPacket, h.b.pub.AppendTo(nil), numberedPacket(h.sent[0]))); err != nil {
			return err
		}
		h.sent[0]++
	}
	return nil
}

func (h *handOvers) writeB(frame []byte) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	_, err := h.b.c.Write(frame)
	return err
}

func (h *handOvers) sendM() error {
	for !h.stopped() {
		if _, err := h.m.c.Write(encode(fSendPacket, h.b.pub.AppendTo(nil), numberedPacket(h.sent[1]))); err != nil {
			return err
		}
		h.sent[1]++
		if err := h.writeB(encode(fPing, binary.BigEndian.AppendUint64(nil, h.sent[2]))); err != nil {
			return err
		}
		h.sent[2]++
		time.Sleep(4 * time.Millisecond)
	}
	return nil
}

// next is the next frame, or false if all has been sent and nothing more comes for a while.
func (h *handOvers) next(r *raw, complete func() bool) (frame, bool, error) {
	for {
		f, err := r.frameBy(time.Now().Add(100 * time.Millisecond))
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return f, true, err
		}
		select {
		case <-h.allSent:
			if complete() {
				return frame{}, false, nil
			}
		default:
		}
	}
}

func (h *handOvers) receiveA() error {
	for back := uint64(0); ; back++ {
		f, more, err := h.next(h.a, func() bool { return back == h.sent[0] })
		if err != nil || !more {
			return err
		}
		if f.typ != fRecvPacket {
			return fmt.Errorf("a gets %v", f)
		}
		h.acks <- true
	}
}

func (h *handOvers) receiveB() error {
	next := map[key.NodePublic]uint64{}
	for pongs := uint64(0); ; {
		f, more, err := h.next(h.b, func() bool { return next[h.a.pub] == h.sent[0] && next[h.m.pub] == h.sent[1] })
		if err != nil {
			return fmt.Errorf("b has %d and %d packets: %v", next[h.a.pub], next[h.m.pub], err)
		}
		if !more {
			return nil
		}
		switch f.typ {
		case fRecvPacket:
			from, p := splitPacket(f.body)
			if want := numberedPacket(next[from]); !bytes.Equal(p, want) {
				return fmt.Errorf("from %v: %d bytes that begin with %x, instead of packet %d", from.ShortString(), len(p), p[:min(9, len(p))], next[from])
			}
			next[from]++
			if from == h.a.pub {
				err = h.writeB(encode(fSendPacket, h.a.pub.AppendTo(nil), []byte("back")))
			}
		case fPong:
			if got := binary.BigEndian.Uint64(f.body); got < pongs {
				err = fmt.Errorf("pong %d after %d", got, pongs)
			} else {
				pongs = got
			}
		default:
			err = fmt.Errorf("b gets %v", f)
		}
		if err != nil {
			return err
		}
	}
}

func numberedPacket(seq uint64) []byte {
	return payload(11, seq, 9+int(seq*37%1300))
}

func (h *handOvers) run(n float64) {
	h.t.Helper()
	const window = 2
	h.stop, h.allSent = make(chan struct{}), make(chan struct{})
	h.acks, h.received = make(chan bool, 1<<10), make(chan error, 4)
	for range window {
		h.acks <- true
	}
	for _, r := range []*raw{h.a, h.b, h.m} {
		r.c.SetWriteDeadline(time.Time{})
	}
	taken := func() float64 { return h.s.metrics(h.t).value("xderp_splice_taken_total") }
	start := taken()
	for _, send := range []func() error{h.sendA, h.sendM} {
		h.senders.Add(1)
		go func() {
			defer h.senders.Done()
			if err := send(); err != nil {
				h.received <- err
			}
		}()
	}
	for _, receive := range []func() error{h.receiveA, h.receiveB} {
		go func() { h.received <- receive() }()
	}
	var err error
	for begin := time.Now(); err == nil && taken()-start < n; {
		select {
		case err = <-h.received:
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(begin) > patience+time.Duration(n)*100*time.Millisecond {
			err = fmt.Errorf("only %v hand-overs", taken()-start)
		}
	}
	close(h.stop)
	h.senders.Wait()
	close(h.allSent)
	for range 2 {
		if err == nil {
			err = <-h.received
		}
	}
	if err != nil {
		h.t.Fatalf("%v; drops: %v", err, h.s.metrics(h.t).sum("xderp_packets_dropped_total"))
	}
	h.t.Logf("%v hand-overs, %d packets by the kernel's source, %d by a shard's; the kernel moved %v in all",
		taken()-start, h.sent[0], h.sent[1], h.s.metrics(h.t).value("xderp_packets_spliced_total"))
}

// One writer per stream: nothing is lost, reordered or torn when it changes. XDERP_HANDOVERS is how often it does.
func TestSpliceHandOvers(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{mesh: true, args: []string{shards}})
			a, b := s.splicedPair(t)
			m := s.meshClient(t)
			h := handOvers{t: t, s: s, a: a, b: b, m: m}
			h.run(float64(envInt("XDERP_HANDOVERS", 30)))
			s.wantNoDrops(t)
			s.conservation(t)
			// Who got packets by the kernel is told, too, when their source goes.
			m.c.Close()
			b.wantGone(m.pub, goneDisconnected)
			s.untilSpliced(t, a, b)
			a.c.Close()
			b.wantGone(a.pub, goneDisconnected)
		})
	}
}

// The relay dies, its sockets live on in somebody's hands: the pair does not notice. XDERP_ORPHAN_SECONDS is how long it is watched.
func TestSpliceOutlivesTheDaemon(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{dirty: true, args: []string{shards}})
			a, b := s.splicedPair(t)
			for _, fd := range s.takeSockets(t) {
				t.Cleanup(func() { unix.Close(fd) })
			}
			s.stopped = true
			s.kill()
			n := 0
			for end := time.Now().Add(time.Duration(envInt("XDERP_ORPHAN_SECONDS", 1)) * time.Second); time.Now().Before(end); n++ {
				pingPong(t, a, b, 100)
			}
			t.Logf("%d packets without a relay", 200*n)
		})
	}
}

// takeSockets duplicates the server's TCP sockets into this process.
func (s *server) takeSockets(t testing.TB) (fds []int) {
	t.Helper()
	pid := s.cmd.Process.Pid
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Skipf("pidfd_open: %v", err)
	}
	defer unix.Close(pidfd)
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range names {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || !strings.HasPrefix(to, "socket:") {
			continue
		}
		n, _ := strconv.Atoi(e.Name())
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			t.Skipf("pidfd_getfd: %v", err)
		}
		if typ, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL); typ != unix.IPPROTO_TCP {
			unix.Close(fd)
			continue
		}
		fds = append(fds, fd)
	}
	return fds
}

// A receiver that does not read costs bounded memory, and an end.
func TestSpliceReceiverThatNeverReads(t *testing.T) {
	s := startSplice(t, "on", opts{args: []string{"--splice-queue=16", "-tcp-write-timeout=1s"}})
	a, stuck := s.client(t), s.narrow(t)
	s.untilSpliced(t, a, stuck)
	kernel := 0.0
	until(t, "the kernel to drop packets", func() bool {
		for range 50 {
			a.sendTo(stuck.pub, make([]byte, 1400))
			time.Sleep(20 * time.Microsecond) // each is a segment of its own
		}
		v := s.metrics(t)
		kernel = v.value("xderp_splice_dropped_full_total")
		return kernel > 0
	})
	if named := s.metrics(t).sum("xderp_packets_dropped_total", `reason="splice_full"`); named < kernel {
		t.Errorf("%v packets dropped by name, %v by the kernel", named, kernel)
	}
	until(t, "the receiver to be closed", func() bool { return s.varz(t).value("derp_current_connections") == 1 })
	// By -tcp-write-timeout if a packet came to the shard, by TCP_USER_TIMEOUT if the kernel had them all.
	s.conservation(t)
	a.wantGone(stuck.pub, goneDisconnected)
}

// What is not whole when its sender goes goes nowhere, and does no harm.
func TestSpliceSenderDiesInAPacket(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{args: []string{shards}})
			b, other := s.splicedPair(t)
			for i := range 20 {
				a := s.client(t)
				s.untilSpliced(t, a, b)
				frame := encode(fSendPacket, b.pub.AppendTo(nil), make([]byte, 500))
				a.write(frame[:1+i*(len(frame)-2)/19])
				if i%2 == 0 {
					a.c.(*net.TCPConn).SetLinger(0)
				}
				a.c.Close()
				b.wantGone(a.pub, goneDisconnected)
				pingPong(t, b, other, 2)
			}
			s.conservation(t)
		})
	}
}

// A source that is closed with bytes nobody has read: the kernel does not complain (kernelComplaints; it would do so once after its start).
func TestSpliceClosedUnread(t *testing.T) {
	s := startSplice(t, "on", opts{})
	a, b := s.splicedPair(t)
	for range 20 {
		bad := s.client(t)
		s.untilSpliced(t, bad, b)
		bad.c.SetWriteDeadline(time.Now().Add(patience))
		bad.c.Write(append(encode(fSendPacket, []byte("short")), make([]byte, 300000)...)) // fails when it is closed
		bad.wantClosed()
		b.wantGone(bad.pub, goneDisconnected)
	}
	pingPong(t, a, b, 10)
}

// A second connection of a key takes over at once, whatever the kernel did for the first.
func TestSpliceDuplicate(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{args: []string{shards}})
			a, b := s.splicedPair(t)
			again := s.clientAs(t, b.priv, infoUsual)
			again.sync()
			for i := range 100 {
				a.sendTo(b.pub, numberedPacket(uint64(i)))
				again.wantPacket(a.pub, numberedPacket(uint64(i)))
			}
			b.sync() // it spoke last now
			for i := range 100 {
				a.sendTo(b.pub, numberedPacket(uint64(i)))
				b.wantPacket(a.pub, numberedPacket(uint64(i)))
			}
			again.quiet()
		})
	}
}

// Clients come and go while the kernel moves packets of others. XDERP_CHURN is how many.
func TestSpliceChurn(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{args: []string{shards}})
			a, b := s.splicedPair(t)
			stop, done := make(chan bool), make(chan bool)
			go func() {
				defer close(done)
				for seq := uint64(0); !t.Failed(); seq++ {
					select {
					case <-stop:
						return
					default:
					}
					a.sendTo(b.pub, numberedPacket(seq))
					b.wantPacket(a.pub, numberedPacket(seq))
				}
			}()
			for range envInt("XDERP_CHURN", 100) / 2 {
				x, y := s.client(t), s.client(t)
				pingPong(t, x, y, 3)
				x.c.Close()
				y.c.Close()
			}
			close(stop)
			<-done
			until(t, "all of them to be gone", func() bool { return s.metrics(t).value("xderp_splice_peers") == 2 })
			s.conservation(t)
		})
	}
}

// auto: who sends now and then goes to the kernel, who sends in bulk does not.
func TestSpliceAuto(t *testing.T) {
	s := startSplice(t, "auto", opts{})
	a, b, x, y := s.client(t), s.client(t), s.client(t), s.client(t)
	until(t, "a quiet pair to be the kernel's", func() bool {
		pingPong(t, a, b, 10)
		time.Sleep(10 * time.Millisecond)
		return s.metrics(t).value("xderp_splice_sources") == 2
	})
	for range 100 {
		var many []byte
		for range 16 {
			many = append(many, encode(fSendPacket, y.pub.AppendTo(nil), make([]byte, 1000))...)
		}
		x.write(many)
		for range 16 {
			y.want(fRecvPacket)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := s.metrics(t).value("xderp_splice_sources"); n != 2 {
		t.Errorf("%v sources: one that sends 16 packets at a time is among them", n)
	}
	s.untilSpliced(t, a, b)
}
