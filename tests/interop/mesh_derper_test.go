// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"net"
	"os"
	"os/exec"
	"testing"
	"time"
)

// derperPath is a derper to mesh with: XDERP_DERPER, or the server itself when that is one.
func derperPath(t testing.TB) string {
	t.Helper()
	if p := os.Getenv("XDERP_DERPER"); p != "" {
		return p
	}
	if serverKind == "derper" {
		return serverPath
	}
	p, err := exec.LookPath("derper")
	if err != nil {
		t.Skip("XDERP_DERPER is not set and no derper in PATH")
	}
	return p
}

// startDerper runs a derper that dials s as a mesh peer.
func startDerper(t testing.TB, s *server) *server {
	t.Helper()
	path := derperPath(t)
	d := newServer(t, opts{mode: tlsName, mesh: true,
		args: []string{"-mesh-with", s.name + ":" + portOf(s.addr) + "/127.0.0.1"}})
	d.path = path
	if err := d.run(); err != nil {
		t.Fatalf("%s: %v\n%s", path, err, d.log)
	}
	t.Cleanup(func() { d.finish(t) })
	return d
}

// awaitPacket sends packets until one arrives. Those before the mesh knew the way were dropped; of the rest none comes later:
// packets keep their order.
func awaitPacket(t testing.TB, from, to *raw) {
	t.Helper()
	is := func(f frame, text string) bool {
		return f.typ == fRecvPacket && keyOf(f.body) == from.pub && string(f.body[32:]) == text
	}
	until(t, "a packet over the mesh", func() bool {
		from.sendTo(to.pub, []byte("over the mesh"))
		f, err := to.frameBy(time.Now().Add(50 * time.Millisecond))
		return err == nil && is(f, "over the mesh")
	})
	from.sendTo(to.pub, []byte("that was all"))
	for !is(to.next(), "that was all") {
	}
}

// A derper meshes with us: its clients reach ours.
func TestMeshWithDerper(t *testing.T) {
	s := start(t, opts{mode: tlsName, mesh: true})
	a := s.client(t)
	d := startDerper(t, s)
	b := d.client(t)

	awaitPacket(t, b, a)
	for _, n := range []int{0, 1, 62, 1400, 65536} {
		b.sendTo(a.pub, noise[:n])
		a.wantPacket(b.pub, noise[:n])
	}
	b.sendTo(a.pub, discoPacket(100, 3))
	a.wantPacket(b.pub, discoPacket(100, 3))

	// A client that comes later is found too; it can move to the other relay.
	a2 := s.client(t)
	awaitPacket(t, b, a2)
	moved := d.clientAs(t, a2.priv, infoUsual)
	b.sendTo(a2.pub, []byte("local first"))
	moved.wantPacket(b.pub, []byte("local first"))

	// One that leaves us is gone for the other relay's clients.
	a.c.Close()
	until(t, "PeerGone(not here) over the mesh", func() bool {
		b.sendTo(a.pub, discoPacket(62, 1))
		f, err := b.frameBy(time.Now().Add(300 * time.Millisecond))
		return err == nil && f.typ == fPeerGone && keyOf(f.body) == a.pub && f.body[32] == goneNotHere
	})

	// It may die: we only lose its clients.
	a3 := s.client(t)
	awaitPacket(t, b, a3)
	d.stopped = true
	d.dirty = true
	d.kill()
	deliver(a2, a3)
	until(t, "the mesh connection to go", func() bool {
		return s.varz(t).value("derp_watchers") == 0
	})
	// PeerGone for those that sent over it is the business of a relay that knows who is where: one that
	// was only dialled does not.
	a3.quietBut(fPeerGone)
}

// quietBut is quiet except for frames of one type.
func (r *raw) quietBut(typ byte) {
	r.t.Helper()
	r.send(fPing, []byte("quietbut"))
	for {
		f := r.next()
		if f.typ == fPong {
			return
		}
		if f.typ != typ {
			r.t.Fatalf("unexpected %v", f)
		}
	}
}

// An IPv6 watcher is told IPv6 addresses.
func TestMeshIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("no IPv6")
	} else {
		l.Close()
	}
	s := start(t, opts{host: "::1", mesh: true})
	w := s.meshClient(t)
	w.flood(1)
	a := s.client(t)
	if got, want := w.wantPresent(), expected(a, flagRegular); got != want {
		t.Errorf("told %+v, want %+v", got, want)
	}
}
