// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/binary"
	"maps"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/types/key"
)

const (
	flagRegular  = 1
	flagMesh     = 2
	flagProber   = 4
	flagNotIdeal = 8
)

type present struct {
	pub   key.NodePublic
	addr  netip.AddrPort
	flags byte
}

func parsePresent(t testing.TB, b []byte) present {
	t.Helper()
	if len(b) != 51 {
		t.Fatalf("PeerPresent of %d bytes: %x", len(b), b)
	}
	ip := netip.AddrFrom16([16]byte(b[32:48]))
	return present{keyOf(b), netip.AddrPortFrom(ip, binary.BigEndian.Uint16(b[48:])), b[50]}
}

func (r *raw) wantPresent() present {
	r.t.Helper()
	return parsePresent(r.t, r.want(fPeerPresent))
}

// expected is what a watcher should be told about r.
func expected(r *raw, flags byte) present {
	a := localAddr(r.t, r.c)
	return present{r.pub, netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port()), flags}
}

// flood sends WatchConns and reads n PeerPresent in any order.
func (r *raw) flood(n int) map[key.NodePublic]present {
	r.t.Helper()
	r.send(fWatchConns)
	got := map[key.NodePublic]present{}
	for range n {
		p := r.wantPresent()
		if _, dup := got[p.pub]; dup {
			r.t.Fatalf("%v told twice", p.pub)
		}
		got[p.pub] = p
	}
	r.quiet()
	return got
}

func TestMeshFlood(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, mesh: true})
			want := map[key.NodePublic]present{}
			add := func(r *raw, flags byte) {
				want[r.pub] = expected(r, flags)
			}
			add(s.client(t), flagRegular)
			add(s.clientAs(t, key.NewNode(), infoProber), flagProber)
			add(s.clientAs(t, key.NewNode(), infoUsual, "Ideal-Node: 1a"), flagNotIdeal)
			add(s.clientAs(t, key.NewNode(), infoProber, "Ideal-Node: 1a"), flagProber|flagNotIdeal)
			add(s.meshClient(t), flagMesh)
			dup := s.client(t) // one key, two connections: told once, by its active one
			add(s.clientAs(t, dup.priv, infoProber), flagProber)
			w := s.meshClient(t)
			add(w, flagMesh)

			for round := range 2 { // a second WatchConns repeats the flood
				got := w.flood(len(want))
				for k, p := range want {
					if got[k] != p {
						t.Errorf("round %d: told %+v, want %+v", round, got[k], p)
					}
				}
			}
		})
	}
}

func TestMeshWatchesComingAndGoing(t *testing.T) {
	s := start(t, opts{mesh: true})
	w := s.meshClient(t)
	w.flood(1)

	a := s.client(t)
	if got, want := w.wantPresent(), expected(a, flagRegular); got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
	a2 := s.clientAs(t, a.priv, infoUsual) // every new connection is told, also of a known key
	if got, want := w.wantPresent(), expected(a2, flagRegular); got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
	a.c.Close()
	until(t, "one connection of the key", func() bool {
		return s.varz(t).value("derp_current_dup_client_conns") == 0
	})
	w.quiet()
	a2.c.Close()
	w.wantGone(a.pub, goneDisconnected)

	// Mesh clients are clients: another watcher's coming and going is told as well.
	w2 := s.meshClient(t)
	if got := w.wantPresent(); got != expected(w2, flagMesh) {
		t.Errorf("told %+v", got)
	}
	w2.c.Close()
	w.wantGone(w2.pub, goneDisconnected)
	w.quiet()
}

// A watcher that received packets of P is told by both rules: as watcher and as receiver.
func TestMeshGoneTwiceForReceiver(t *testing.T) {
	s := start(t, opts{mesh: true})
	w := s.meshClient(t)
	w.flood(1)
	p := s.client(t)
	w.wantPresent()
	deliver(p, w)
	p.c.Close()
	w.wantGone(p.pub, goneDisconnected)
	w.wantGone(p.pub, goneDisconnected)
	w.quiet()
}

func TestMeshForward(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, mesh: true})
			w, b := s.meshClient(t), s.client(t)
			far, nobody := key.NewNode().Public(), key.NewNode().Public()
			forward := func(dst key.NodePublic, p []byte) {
				w.send(fForwardPacket, far.AppendTo(nil), dst.AppendTo(nil), p)
			}
			for _, n := range []int{0, 1, 62, 1400, 65535, 65536} {
				forward(b.pub, noise[:n])
				b.wantPacket(far, noise[:n])
			}
			forward(b.pub, discoPacket(100, 7))
			b.wantPacket(far, discoPacket(100, 7))

			// Unknown destinations: an answer on the mesh connection for disco only, same limit as ever.
			forward(nobody, []byte("ordinary"))
			w.quiet()
			for range 5 {
				forward(nobody, discoPacket(62, 7))
			}
			for range 3 {
				w.wantGone(nobody, goneNotHere)
			}
			s.wantVarz(t, nil, map[string]float64{
				`derp_packets_dropped|"unknown_dest_on_fwd"`:         6,
				`derp_packets_dropped|"unknown_dest_on_fwd" "disco"`: 5,
				"derp_packets_forwarded_in":                          13,
			})
			// The forwarding mesh client is also a client.
			deliver(b, w)
			deliver(w, b)
		})
	}
}

func TestMeshForwardLimits(t *testing.T) {
	s := start(t, opts{mesh: true})
	for _, n := range []int{0, 32, 63, 64 + maxPacket + 1} {
		w := s.meshClient(t)
		w.c.Write(encode(fForwardPacket, make([]byte, n)))
		w.wantClosed()
	}
}

func TestMeshClosePeer(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, mesh: true})
			w, others := s.meshClient(t), s.pair(t)
			victim := s.client(t)
			second := s.clientAs(t, victim.priv, infoUsual)
			deliver(second, others.a)
			w.send(fClosePeer, key.NewNode().Public().AppendTo(nil)) // unknown: not an error
			w.send(fClosePeer, victim.pub.AppendTo(nil))
			victim.wantClosed()
			second.wantClosed()
			others.a.wantGone(victim.pub, goneDisconnected)
			w.quiet()
			others.relays()
			// The key may come back.
			s.clientAs(t, victim.priv, infoUsual).sync()
			// Closing oneself works too.
			w.send(fClosePeer, w.pub.AppendTo(nil))
			w.wantClosed()
		})
	}
}

func TestMeshClosePeerLengths(t *testing.T) {
	s := start(t, opts{mesh: true})
	for _, n := range []int{0, 31, 33} {
		w := s.meshClient(t)
		w.send(fClosePeer, make([]byte, n))
		w.wantClosed()
	}
	w := s.meshClient(t)
	w.send(fWatchConns, []byte{0})
	w.wantClosed()
}

// Rights come only from the right key.
func TestMeshRights(t *testing.T) {
	zero := strings.Repeat("0", 64)
	wrong := strings.Repeat("f", 64)
	for _, c := range []struct {
		name   string
		server bool // the server has a mesh key
		key    string
		rights bool
	}{
		{"right", true, meshPSK, true},
		{"right, upper case", true, strings.ToUpper(meshPSK), true},
		{"wrong", true, wrong, false},
		{"zero", true, zero, false},
		{"server without key", false, meshPSK, false},
		{"zero, server without key", false, zero, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, opts{mesh: c.server})
			info := `{"meshKey":"` + c.key + `","version":2}`
			others := s.pair(t)
			for _, b := range [][]byte{
				encode(fWatchConns),
				encode(fClosePeer, key.NewNode().Public().AppendTo(nil)),
				encode(fForwardPacket, key.NewNode().Public().AppendTo(nil), others.a.pub.AppendTo(nil)),
			} {
				r := s.clientAs(t, key.NewNode(), info)
				r.sync()
				deliver(r, others.b)
				r.write(b)
				if c.rights {
					if b[0] == fWatchConns {
						for range 3 {
							r.want(fPeerPresent)
						}
					}
					if b[0] == fForwardPacket {
						others.a.want(fRecvPacket)
					}
					r.sync()
				} else {
					r.wantClosed()
				}
				r.c.Close()
				others.b.wantGone(r.pub, goneDisconnected)
			}
		})
	}
}

// A watcher whose key is the server's own is a connection of the server to itself: it is told nothing.
func TestMeshSelfConnection(t *testing.T) {
	v := vectors(t)
	s := vectorServer(t, v)
	r := s.upgrade(t)
	if err := r.login(privFromHex(t, v.Keys.Server.Priv), infoMesh); err != nil {
		if isXderp() {
			return // closed at once, which is better
		}
		t.Fatal(err)
	}
	r.send(fWatchConns)
	if !isXderp() {
		r.quiet()
		s.client(t)
		r.quiet()
	}
}

// Tailscale's own mesh client.
func TestMeshStockClient(t *testing.T) {
	s := start(t, opts{mode: tlsName, mesh: true})
	k, err := key.ParseDERPMesh(meshPSK)
	if err != nil {
		t.Fatal(err)
	}
	a := s.client(t)
	w := s.stock(t, func(c *derphttp.Client) {
		c.MeshKey = k
		c.WatchConnectionChanges = true
	})
	seen := map[key.NodePublic]derp.PeerPresentFlags{}
	for range 2 {
		p := stockWant[derp.PeerPresentMessage](w)
		seen[p.Key] = p.Flags
	}
	if seen[a.pub] != derp.PeerPresentIsRegular || seen[w.pub] != derp.PeerPresentIsMeshPeer {
		t.Errorf("told %v", seen)
	}
	b := s.client(t)
	p := stockWant[derp.PeerPresentMessage](w)
	if p.Key != b.pub || p.IPPort != localAddr(t, b.c) {
		t.Errorf("told %+v, want %v", p, localAddr(t, b.c))
	}
	if err := w.ForwardPacket(a.pub, b.pub, []byte("by stock")); err != nil {
		t.Fatal(err)
	}
	b.wantPacket(a.pub, []byte("by stock"))
	if err := w.ClosePeer(b.pub); err != nil {
		t.Fatal(err)
	}
	b.wantClosed()
	// A receiver by ForwardPacket is not a receiver from the mesh client: told once, as watcher.
	if g := stockWant[derp.PeerGoneMessage](w); g.Peer != b.pub || g.Reason != derp.PeerGoneReasonDisconnected {
		t.Errorf("PeerGone %+v", g)
	}
}

// After a storm of connections a watcher's picture is right, whoever came and went. derper also
// tells every visit; ours may leave out one that is over before it could be told.
func TestMeshStorm(t *testing.T) {
	s := start(t, opts{mesh: true})
	w := s.meshClient(t)
	w.flood(1)
	const n = 200
	here := map[key.NodePublic]bool{}
	come, gone := 0, 0
	note := func(f frame) {
		switch {
		case f.typ == fPeerPresent:
			here[parsePresent(t, f.body).pub] = true
			come++
		case f.typ == fPeerGone && f.body[32] == goneDisconnected:
			delete(here, keyOf(f.body))
			gone++
		default:
			t.Fatalf("unexpected %v", f)
		}
	}
	stayed := map[key.NodePublic]bool{}
	for i := range n {
		r := s.client(t)
		switch i % 3 {
		case 0: // stays
			stayed[r.pub] = true
		case 1: // leaves
			r.c.Close()
		case 2: // leaves and comes back
			r.c.Close()
			s.clientAs(t, r.priv, infoUsual)
			stayed[r.pub] = true
		}
	}
	until(t, "the watcher's picture to be right", func() bool {
		for {
			f, err := w.frameBy(time.Now().Add(100 * time.Millisecond))
			if err != nil {
				return maps.Equal(here, stayed)
			}
			note(f)
		}
	})
	w.quiet()
	visits := n + n/3
	if come > visits || (!isXderp() && come != visits) || gone > visits-len(stayed) {
		t.Errorf("%d comings and %d goings told, of %d and up to %d", come, gone, visits, visits-len(stayed))
	}
}
