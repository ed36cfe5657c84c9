// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// bpfPeer is an entry of derp_peers as bpftool -j formats it: text, names and numbers.
type bpfPeer struct {
	ShortKey   string `json:"short_key"`
	Address    string `json:"address"`
	Shard      int    `json:"shard"`
	Slot       int    `json:"slot"`
	Generation int    `json:"generation"`
	Transport  string `json:"transport"`
	Home       bool   `json:"home"`
	Mesh       bool   `json:"mesh"`
	Prober     bool   `json:"prober"`
	NotIdeal   bool   `json:"not_ideal"`
	Duplicates int    `json:"duplicates"`
	Connected  int64  `json:"connected_at"`
	HomeSince  int64  `json:"home_since"`
	FramesIn   int64  `json:"frames_in"`
	BytesIn    int64  `json:"bytes_in"`
	FramesOut  int64  `json:"frames_out"`
	BytesOut   int64  `json:"bytes_out"`
	Drops      int64  `json:"drops"`
}

// bpfPeers dumps the map.
func bpfPeers(t testing.TB, dir string) map[key.NodePublic]bpfPeer {
	t.Helper()
	var dump []struct {
		Formatted struct {
			Key   struct{ Pub []int }
			Value bpfPeer
		}
	}
	out := bpftool(t, "-j", "map", "dump", "pinned", filepath.Join(dir, "derp_peers"))
	if err := json.Unmarshal(out, &dump); err != nil {
		t.Fatalf("bpftool's JSON: %v\n%.500s", err, out)
	}
	peers := map[key.NodePublic]bpfPeer{}
	for _, e := range dump {
		var k []byte
		for _, b := range e.Formatted.Key.Pub {
			k = append(k, byte(b))
		}
		if k == nil {
			continue // it went while bpftool was about to look at it
		}
		peers[keyOf(k)] = e.Formatted.Value
	}
	return peers
}

// awaitPeers dumps until cond is true.
func awaitPeers(t testing.TB, dir, what string, cond func(map[key.NodePublic]bpfPeer) bool) {
	t.Helper()
	var last map[key.NodePublic]bpfPeer
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("last dump: %+v", last)
		}
	})
	until(t, what, func() bool {
		last = bpfPeers(t, dir)
		return cond(last)
	})
}

func TestBPFPeersFollowTheRelay(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			dir := bpffs(t)
			s := startBPF(t, dir, opts{mode: m, mesh: true})
			begin := time.Now().Unix()
			a := s.clientAs(t, key.NewNode(), infoProber, "Ideal-Node: elsewhere")
			b, mesh := s.client(t), s.meshClient(t)
			transport := map[mode]string{plain: "DERP_PLAIN", tlsName: "DERP_TLS"}[m]
			if m == tlsName && slices.Contains(serverArgs, "--ktls=on") {
				transport = "DERP_KTLS"
			}

			// At once, without waiting: a login is in the map before its ServerInfo leaves.
			got := bpfPeers(t, dir)
			for _, c := range []struct {
				r    *raw
				want bpfPeer
			}{
				{a, bpfPeer{Prober: true, NotIdeal: true}},
				{b, bpfPeer{}},
				{mesh, bpfPeer{Mesh: true}},
			} {
				g, ok := got[c.r.pub]
				if !ok || len(got) != 3 {
					t.Fatalf("%v is not among %d peers", c.r.pub, len(got))
				}
				if g.Connected < begin-1 || g.Connected > time.Now().Unix()+1 {
					t.Errorf("connected_at %d, now is %d", g.Connected, time.Now().Unix())
				}
				c.want.ShortKey, c.want.Address = c.r.pub.ShortString(), c.r.c.LocalAddr().String()
				c.want.Transport = transport
				if m != plain && g.Transport == "DERP_KTLS" { // by --ktls
					c.want.Transport = g.Transport
				}
				c.want.Shard, c.want.Slot, c.want.Generation, c.want.Connected = g.Shard, g.Slot, g.Generation, g.Connected
				if g != c.want {
					t.Errorf("entry %+v, want %+v", g, c.want)
				}
			}

			b.send(fNotePreferred, []byte{1})
			for range 5 {
				a.sendTo(b.pub, make([]byte, 100))
			}
			for range 5 {
				b.want(fRecvPacket)
			}
			b.sendTo(a.pub, make([]byte, 7))
			a.want(fRecvPacket)
			mesh.send(fForwardPacket, key.NewNode().Public().AppendTo(nil), a.pub.AppendTo(nil), make([]byte, 9))
			a.want(fRecvPacket)
			awaitPeers(t, dir, "counters and home in the map", func(p map[key.NodePublic]bpfPeer) bool {
				pa, pb, pm := p[a.pub], p[b.pub], p[mesh.pub]
				return pa.FramesIn == 5 && pa.BytesIn == 500 && pa.FramesOut == 2 && pa.BytesOut == 16 && !pa.Home &&
					pb.FramesIn == 1 && pb.BytesIn == 7 && pb.FramesOut == 5 && pb.BytesOut == 500 && pb.Home && pb.HomeSince >= begin-1 &&
					pm.FramesIn == 1 && pm.BytesIn == 9
			})
			b.send(fNotePreferred, []byte{0})
			awaitPeers(t, dir, "no home any more", func(p map[key.NodePublic]bpfPeer) bool {
				return !p[b.pub].Home && p[b.pub].HomeSince == 0
			})

			b.c.Close()
			awaitPeers(t, dir, "b to leave", func(p map[key.NodePublic]bpfPeer) bool {
				_, here := p[b.pub]
				return len(p) == 2 && !here
			})
		})
	}
}

// The dump is for people: no entry needs decoding but the key.
func TestBPFPeersReadable(t *testing.T) {
	dir := bpffs(t)
	s := startBPF(t, dir, opts{mode: tlsName, host: "::1"})
	r := s.client(t)
	out := string(bpftool(t, "map", "dump", "pinned", filepath.Join(dir, "derp_peers")))
	for _, want := range []string{
		`"short_key": "` + r.pub.ShortString() + `"`,
		`"address": "` + r.c.LocalAddr().String() + `"`,
		`"transport": "DERP_`, `"home": false`, `"frames_in": 0`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in:\n%s", want, out)
		}
	}
}

func TestBPFPeersDrops(t *testing.T) {
	dir := bpffs(t)
	s := startBPF(t, dir, opts{args: []string{"-tcp-write-timeout=60s"}})
	stuck, sender := s.narrow(t), s.client(t)
	s.fill(t, sender, stuck)
	awaitPeers(t, dir, "as many drops in the map as in the metrics", func(p map[key.NodePublic]bpfPeer) bool {
		return p[stuck.pub].Drops > 0 && float64(p[stuck.pub].Drops) == s.drops(t)
	})
}

// The map shows the connection that gets the packets; a duplicate's end does not remove its sibling.
func TestBPFPeersDuplicates(t *testing.T) {
	dir := bpffs(t)
	s := startBPF(t, dir, opts{})
	priv := key.NewNode()
	shown := func() bpfPeer { return bpfPeers(t, dir)[priv.Public()] }
	isShown := func(r *raw, duplicates int) {
		t.Helper()
		if g := shown(); g.Address != r.c.LocalAddr().String() || g.Duplicates != duplicates {
			t.Errorf("shown %+v, want %v and %d duplicates", g, r.c.LocalAddr(), duplicates)
		}
	}
	first := s.clientAs(t, priv, infoUsual)
	isShown(first, 0)
	second := s.clientAs(t, priv, infoUsual)
	isShown(second, 1)
	first.sync()
	isShown(first, 1)
	third := s.clientAs(t, priv, infoUsual)
	isShown(third, 2)
	third.c.Close()
	until(t, "the third to leave", func() bool { return shown().Duplicates == 1 })
	isShown(first, 1)
	second.c.Close()
	until(t, "the second to leave", func() bool { return shown().Duplicates == 0 })
	isShown(first, 0)
	first.c.Close()
	until(t, "the key to leave", func() bool { return len(bpfPeers(t, dir)) == 0 })
}

// What the map can't hold is served all the same, counted, and logged once.
func TestBPFPeersFull(t *testing.T) {
	dir := bpffs(t)
	s := startBPF(t, dir, opts{args: []string{"--bpf-peers=3"}})
	var p []pair
	for range 4 {
		p = append(p, s.pair(t))
	}
	for _, q := range p {
		q.relays()
	}
	if n := len(bpfPeers(t, dir)); n != 3 {
		t.Errorf("%d entries, want 3", n)
	}
	if n := s.metrics(t).value("xderp_bpf_peers_refused_total"); n < 5 {
		t.Errorf("%v refused, want 5 or more", n)
	}
	if n := strings.Count(s.log.String(), "event=bpf_peer_refused"); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
	p[0].a.c.Close()
	until(t, "a peer that was refused to get in where there is room", func() bool {
		p[2].relays()
		p[3].relays()
		now := bpfPeers(t, dir)
		_, left := now[p[0].a.pub]
		return len(now) == 3 && !left
	})
}

// switches counts how often the server's threads went to sleep.
func (s *server) switches(t testing.TB) (n int) {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", s.cmd.Process.Pid))
	for _, f := range tasks {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\nvoluntary_ctxt_switches:")
		var v int
		fmt.Sscan(rest, &v)
		n += v
	}
	return n
}

// Counters are written while there is something to write; an idle relay does not wake up for them.
func TestBPFIdleRelaySleeps(t *testing.T) {
	needTime(t)
	if b, err := os.ReadFile(serverPath); err != nil || bytes.Contains(b, []byte("__tsan_init")) {
		t.Skip("ThreadSanitizer has a thread that wakes up")
	}
	dir := bpffs(t)
	s := startBPF(t, dir, opts{})
	p := s.pair(t)
	p.relays()
	awaitPeers(t, dir, "counters in the map", func(m map[key.NodePublic]bpfPeer) bool {
		return m[p.a.pub].FramesIn == 1 && m[p.b.pub].FramesIn == 1
	})
	time.Sleep(2 * time.Second)
	before := s.switches(t)
	time.Sleep(4 * time.Second)
	if n := s.switches(t) - before; n != 0 {
		t.Errorf("woke up %d times in 4 s without traffic", n)
	}
}

// How long bpftool takes for a full house is printed; that it sees all of it is tested.
func TestBPFDumpOfManyPeers(t *testing.T) {
	needTime(t)
	n := envInt("XDERP_BPF_PEERS", 10000)
	dir := bpffs(t)
	s := startBPF(t, dir, opts{args: []string{"--max-unauthenticated=20000"}})
	var wg sync.WaitGroup
	free := make(chan bool, 32)
	for range n {
		wg.Add(1)
		free <- true
		go func() {
			defer wg.Done()
			defer func() { <-free }()
			r := newRaw(t, s, s.tcp(t))
			if err := r.upgrade(); err != nil {
				t.Error(err)
			} else if err := r.login(key.NewNode(), infoUsual); err != nil {
				t.Error(err)
			}
			r.br = nil
		}()
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	begin := time.Now()
	out := bpftool(t, "map", "dump", "pinned", filepath.Join(dir, "derp_peers"))
	t.Logf("bpftool map dump of %d peers: %v, %d bytes", n, time.Since(begin).Round(time.Millisecond), len(out))
	if got := bytes.Count(out, []byte(`"short_key"`)); got != n {
		t.Errorf("%d peers in the dump, want %d", got, n)
	}
}
