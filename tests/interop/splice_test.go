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
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"tailscale.com/derp"
	"tailscale.com/types/key"
)

// startSplice starts a relay that lets the kernel move packets of plain clients.
func startSplice(t testing.TB, mode string, o opts) *server {
	t.Helper()
	if o.dirty { // it will be killed
		kernelComplaints(t, killedUnread)
	} else {
		kernelComplaints(t)
	}
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

// handOvers are streams that change hands under load: by the kernel, with a few packets in flight, while shards write into them, too.
type handOvers struct {
	s        *server
	streams  []*handedOver
	stop     chan struct{}
	senders  sync.WaitGroup
	allSent  chan struct{}
	received chan error
}

// handedOver is one: a sends to b, and so does m, whose connection is not the kernel's; b's pings are answered there, too.
type handedOver struct {
	*handOvers
	a, b, m *raw
	writing sync.Mutex // of b
	acks    chan bool  // a's packets that are back
	arrived chan bool  // m's packets that are there: a relay that stood still would find more than a queue holds
	sent    [3]uint64  // by a, m, and pings; final once senders have ended
}

func (h *handOvers) stopped() bool {
	select {
	case <-h.stop:
		return true
	default:
		return false
	}
}

func (h *handedOver) sendA() error {
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

func (h *handedOver) writeB(frame []byte) error {
	h.writing.Lock()
	defer h.writing.Unlock()
	_, err := h.b.c.Write(frame)
	return err
}

func (h *handedOver) sendM() error {
	for !h.stopped() {
		select {
		case <-h.arrived:
		case <-time.After(patience):
			return fmt.Errorf("of %d packets from m some do not arrive", h.sent[1])
		}
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

// next is the next frame but KeepAlive, or false if all has been sent and nothing more comes for a while.
func (h *handOvers) next(r *raw, complete func() bool) (frame, bool, error) {
	for {
		f, err := r.frameBy(time.Now().Add(100 * time.Millisecond))
		if err == nil && f.typ == fKeepAlive {
			continue
		}
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

func (h *handedOver) receiveA() error {
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

func (h *handedOver) receiveB() error {
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
			if from == h.m.pub {
				h.arrived <- true
			} else {
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

func (h *handOvers) add(a, b, m *raw) {
	const window, ofM = 2, 8
	o := &handedOver{handOvers: h, a: a, b: b, m: m, acks: make(chan bool, window), arrived: make(chan bool, ofM)}
	for range window {
		o.acks <- true
	}
	for range ofM {
		o.arrived <- true
	}
	for _, r := range []*raw{a, b, m} {
		r.c.SetWriteDeadline(time.Time{})
	}
	h.streams = append(h.streams, o)
}

func (h *handOvers) begin() {
	h.stop, h.allSent, h.received = make(chan struct{}), make(chan struct{}), make(chan error, 4*len(h.streams))
	for _, o := range h.streams {
		for _, send := range []func() error{o.sendA, o.sendM} {
			h.senders.Add(1)
			go func() {
				defer h.senders.Done()
				if err := send(); err != nil {
					h.received <- err
				}
			}()
		}
		for _, receive := range []func() error{o.receiveA, o.receiveB} {
			go func() { h.received <- receive() }()
		}
	}
}

// run ends when the streams have changed hands n times in all, and everything has arrived.
func (h *handOvers) run(t *testing.T, n float64) {
	t.Helper()
	taken := func() float64 { return h.s.metrics(t).value("xderp_splice_taken_total") }
	start := taken()
	h.begin()
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
	for range 2 * len(h.streams) {
		if err == nil {
			err = <-h.received
		}
	}
	if err != nil {
		t.Fatalf("%v; drops: %v", err, h.s.metrics(t).sum("xderp_packets_dropped_total"))
	}
	var kernels, shards uint64
	for _, o := range h.streams {
		kernels, shards = kernels+o.sent[0], shards+o.sent[1]
	}
	t.Logf("%v hand-overs, %d packets by the kernel's sources, %d by shards'; the kernel moved %v in all",
		taken()-start, kernels, shards, h.s.metrics(t).value("xderp_packets_spliced_total"))
}

// One writer per stream: nothing is lost, reordered or torn when it changes. XDERP_HANDOVERS is how often it does.
func TestSpliceHandOvers(t *testing.T) {
	const streams = 4
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{mesh: true, args: []string{shards}})
			h := handOvers{s: s}
			for range streams {
				a, b := s.splicedPair(t)
				h.add(a, b, s.meshClient(t))
			}
			h.run(t, float64(envInt("XDERP_HANDOVERS", 30)))
			s.wantNoDrops(t)
			s.conservation(t)
			// Who got packets by the kernel is told, too, when their source goes.
			a, b, m := h.streams[0].a, h.streams[0].b, h.streams[0].m
			m.c.Close()
			b.wantGone(m.pub, goneDisconnected)
			s.untilSpliced(t, a, b)
			a.c.Close()
			b.wantGone(a.pub, goneDisconnected)
		})
	}
}

// flood is a stream from a to b with a few packets in flight, every byte checked; b's answers let it go on.
type flood struct {
	a, b   *raw
	stop   chan struct{}
	errs   chan error // of both ends
	others chan other
}

// other is what one of its ends gets besides.
type other struct {
	at *raw
	frame
}

func startFlood(a, b *raw, window int) *flood {
	f := &flood{a: a, b: b, stop: make(chan struct{}), errs: make(chan error, 2), others: make(chan other, 1<<10)}
	a.c.SetWriteDeadline(time.Time{})
	b.c.SetWriteDeadline(time.Time{})
	go func() { f.errs <- f.send(uint64(window)) }()
	go func() { f.errs <- f.receive() }()
	return f
}

// send ends with an empty packet, after which nothing comes.
func (f *flood) send(window uint64) error {
	stop := f.stop
	for sent, back := uint64(0), uint64(0); ; {
		select {
		case <-stop:
			window, stop = 0, nil
		default:
		}
		if stop == nil && back == sent {
			_, err := f.a.c.Write(encode(fSendPacket, f.b.pub.AppendTo(nil)))
			return err
		}
		if sent < back+window {
			if _, err := f.a.c.Write(encode(fSendPacket, f.b.pub.AppendTo(nil), numberedPacket(sent))); err != nil {
				return err
			}
			sent++
			continue
		}
		fr, err := f.a.frame()
		if err != nil {
			return fmt.Errorf("after %d answers to %d packets: %w", back, sent, err)
		}
		if fr.typ == fRecvPacket {
			back++
		} else {
			f.others <- other{f.a, fr}
		}
	}
}

func (f *flood) receive() error {
	for next := uint64(0); ; {
		fr, err := f.b.frame()
		if err != nil {
			return fmt.Errorf("after %d packets: %w", next, err)
		}
		if fr.typ != fRecvPacket || keyOf(fr.body) != f.a.pub {
			f.others <- other{f.b, fr}
			continue
		}
		_, p := splitPacket(fr.body)
		if len(p) == 0 {
			return nil
		}
		if !bytes.Equal(p, numberedPacket(next)) {
			return fmt.Errorf("%d bytes that begin with %x, instead of packet %d", len(p), p[:min(9, len(p))], next)
		}
		next++
		if _, err := f.b.c.Write(encode(fSendPacket, f.a.pub.AppendTo(nil), []byte("back"))); err != nil {
			return err
		}
	}
}

// other is what comes next besides.
func (f *flood) other(t testing.TB, limit time.Duration) other {
	t.Helper()
	select {
	case o := <-f.others:
		return o
	case err := <-f.errs:
		t.Fatalf("the stream has ended: %v", err)
	case <-time.After(limit):
		t.Fatalf("nothing comes within %v", limit)
	}
	return other{}
}

// end stops it and waits until all has arrived.
func (f *flood) end(t testing.TB) {
	t.Helper()
	close(f.stop)
	for range 2 {
		if err := <-f.errs; err != nil {
			t.Fatal(err)
		}
	}
}

// What the relay itself has to say comes between packets that the kernel moves at full speed. XDERP_GONE is how many are gone.
func TestSpliceInjected(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{args: []string{shards}})
			a, b := s.splicedPair(t)
			f := startFlood(a, b, 8)
			x, y := s.splicedPair(t)
			g := startFlood(x, y, 8)
			next := func() other {
				for {
					if o := f.other(t, patience); o.typ != fKeepAlive {
						return o
					}
				}
			}
			for i := range envInt("XDERP_GONE", 30) { // a client remembers 8,192
				guest, hello := s.client(t), numberedPacket(uint64(i))
				guest.sendTo(b.pub, hello)
				if o := next(); o.at != b || o.typ != fRecvPacket || keyOf(o.body) != guest.pub || !bytes.Equal(o.body[32:], hello) {
					t.Fatalf("%v instead of the guest's packet", o.frame)
				}
				guest.c.Close()
				if o := next(); o.at != b || o.typ != fPeerGone || keyOf(o.body) != guest.pub {
					t.Fatalf("%v instead of PeerGone", o.frame)
				}
			}
			shard, kernel := s.moved(t)
			f.end(t)
			g.end(t)
			t.Logf("by shards %v, by the kernel %v", shard, kernel)
			if kernel < shard {
				t.Errorf("the kernel moved %v, shards %v: this test shows nothing", kernel, shard)
			}
			s.wantNoDrops(t)
			s.conservation(t)
		})
	}
}

// KeepAlive does, too. It is due a minute after the login; packets flow shortly before.
func TestSpliceKeepAlive(t *testing.T) {
	needTime(t)
	t.Parallel()
	s := startSplice(t, "on", opts{args: []string{"--shards=2"}})
	a, b := s.splicedPair(t)
	time.Sleep(58 * time.Second)
	f := startFlood(a, b, 8)
	for alive := map[*raw]bool{}; len(alive) < 2; {
		o := f.other(t, patience)
		if o.typ != fKeepAlive {
			t.Fatalf("%v instead of KeepAlive", o.frame)
		}
		alive[o.at] = true
	}
	f.end(t)
	s.wantNoDrops(t)
	s.conservation(t)
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

// The relay dies, and nobody has its sockets: in the midst of packets, all of them are closed by the kernel. XDERP_KILLS is how often.
func TestSpliceKilled(t *testing.T) {
	for range envInt("XDERP_KILLS", 2) {
		s := startSplice(t, "on", opts{dirty: true, args: []string{"--shards=2"}})
		var floods []*flood
		for range 8 {
			a, b := s.splicedPair(t)
			floods = append(floods, startFlood(a, b, 8))
		}
		_, before := s.moved(t)
		until(t, "packets to flow", func() bool {
			_, now := s.moved(t)
			return now > before+1000
		})
		s.stopped = true
		s.kill()
		for _, f := range floods {
			for range 2 {
				if err := <-f.errs; errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("not closed: %v", err)
				}
			}
		}
		t.Logf("what came for sockets closed before, by processor: %s", regexp.MustCompile(`"orphaned": \d+`).FindAll(
			bpftool(t, "map", "dump", "pinned", filepath.Join(bpffsOf(s), "derp_stats")), -1))
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
		for range 1000 {
			a.sendTo(stuck.pub, make([]byte, 1400))
		}
		v := s.metrics(t)
		kernel = v.value("xderp_splice_dropped_full_total")
		return kernel > 0 // a slow machine's clients don't get far before the receiver is closed
	})
	if named := s.metrics(t).sum("xderp_packets_dropped_total", `reason="splice_full"`); named < kernel {
		t.Errorf("%v packets dropped by name, %v by the kernel", named, kernel)
	}
	until(t, "the receiver to be closed", func() bool { return s.varz(t).value("derp_current_connections") == 1 })
	// By -tcp-write-timeout if a packet came to the shard, by TCP_USER_TIMEOUT if the kernel had them all.
	s.conservation(t)
	v := s.metrics(t)
	lost := v.value("xderp_splice_lost_bytes_total")
	t.Logf("%v dropped by the kernel, %v bytes waited there", v.value("xderp_splice_dropped_full_total"), lost)
	if lost > (16+1)*65536 {
		t.Errorf("%v bytes waited in the kernel, in a queue of 16 buffers", lost)
	}
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

// A source that is closed with bytes nobody has read, while the kernel is busy with others: it does not complain (kernelComplaints).
// XDERP_UNREAD is how many.
func TestSpliceClosedUnread(t *testing.T) {
	s := startSplice(t, "on", opts{})
	a, b := s.splicedPair(t)
	f := startFlood(a, b, 4)
	c := s.client(t)
	for range envInt("XDERP_UNREAD", 20) {
		bad := s.client(t)
		pingPong(t, bad, c, 5)
		bad.c.SetWriteDeadline(time.Now().Add(patience))
		bad.c.Write(append(encode(fSendPacket, []byte("short")), make([]byte, 300000)...)) // fails when it is closed
		bad.wantClosed()
		c.wantGone(bad.pub, goneDisconnected)
	}
	f.end(t)
	s.wantNoDrops(t)
}

// speakInTurn connects a second client with b's key: packets of a, which the kernel moves, are for the one that spoke last.
func (s *server) speakInTurn(t testing.TB, a, b *raw) {
	t.Helper()
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
}

// A second connection of a key takes over at once, whatever the kernel did for the first.
func TestSpliceDuplicate(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{args: []string{shards}})
			a, b := s.splicedPair(t)
			s.speakInTurn(t, a, b)
		})
	}
}

// Clients come and go while the kernel moves packets of others. XDERP_CHURN is how many.
func TestSpliceChurn(t *testing.T) {
	for _, shards := range shardCounts {
		t.Run(shards, func(t *testing.T) {
			s := startSplice(t, "on", opts{args: []string{shards}})
			a, b := s.splicedPair(t)
			f := startFlood(a, b, 4)
			for range envInt("XDERP_CHURN", 100) / 2 {
				x, y := s.client(t), s.client(t)
				pingPong(t, x, y, 3)
				x.c.Close()
				y.wantGone(x.pub, goneDisconnected)
				y.c.Close()
			}
			f.end(t)
			s.wantNoDrops(t)
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

// Tailscale's own clients do not notice who moves their packets.
func TestSpliceStockClients(t *testing.T) {
	s := startSplice(t, "on", opts{args: []string{"--shards=2"}})
	a, b := s.stock(t), s.stock(t)
	until(t, "the kernel to move all packets", func() bool {
		before, _ := s.moved(t)
		stockPingPong(t, a, b, 50)
		after, _ := s.moved(t)
		return before == after
	})
	for range 20 { // many at once, each way
		for seq := range uint64(20) {
			if err := a.Send(b.pub, numberedPacket(seq)); err != nil {
				t.Fatal(err)
			}
		}
		for seq := range uint64(20) {
			if p := stockWant[derp.ReceivedPacket](b); p.Source != a.pub || !bytes.Equal(p.Data, numberedPacket(seq)) {
				t.Fatalf("%d bytes from %v instead of packet %d", len(p.Data), p.Source.ShortString(), seq)
			}
		}
		a, b = b, a
	}
	s.wantNoDrops(t)
	a.Close()
	if gone := stockWant[derp.PeerGoneMessage](b); gone.Peer != a.pub {
		t.Errorf("%v is gone, want %v", gone.Peer, a.pub)
	}
	s.conservation(t)
}

func stockPingPong(t testing.TB, a, b *stock, n int) {
	t.Helper()
	for i := range n {
		for range 2 {
			want := payload(7, uint64(i), 9+i%1400)
			if err := a.Send(b.pub, want); err != nil {
				t.Fatal(err)
			}
			if p := stockWant[derp.ReceivedPacket](b); p.Source != a.pub || !bytes.Equal(p.Data, want) {
				t.Fatalf("%d bytes from %v, want %d", len(p.Data), p.Source.ShortString(), len(want))
			}
			a, b = b, a
		}
	}
}

// The same over veths, each to a machine of clients.
func TestSpliceVeth(t *testing.T) {
	needTime(t)
	if !ownNetwork(t) {
		return
	}
	addRemote(t, false)
	addRemote(t, true)
	for name, test := range map[string]func(*testing.T){
		"MovesAll": TestSpliceMovesAll, "Exchange": TestSpliceExchange, "HandOvers": TestSpliceHandOvers, "Injected": TestSpliceInjected,
		"OutlivesTheDaemon": TestSpliceOutlivesTheDaemon, "Killed": TestSpliceKilled, "ReceiverThatNeverReads": TestSpliceReceiverThatNeverReads,
		"SenderDiesInAPacket": TestSpliceSenderDiesInAPacket, "ClosedUnread": TestSpliceClosedUnread, "Duplicate": TestSpliceDuplicate,
		"Churn": TestSpliceChurn, "Auto": TestSpliceAuto, "StockClients": TestSpliceStockClients,
	} {
		t.Run(name, test)
	}
}
