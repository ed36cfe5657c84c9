// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// startNodes runs relays that mesh with each other: "x" is the server under test, "d" derper. All get the same list, which
// names each node itself too.
func startNodes(t testing.TB, m mode, kinds ...string) []*server {
	t.Helper()
	var nodes []*server
	var list []string
	for range kinds {
		s := newServer(t, opts{mode: m, mesh: true})
		nodes = append(nodes, s)
		list = append(list, s.name+":"+portOf(s.addr)+"/127.0.0.1")
	}
	for i, s := range nodes {
		s.args = []string{"-mesh-with", strings.Join(list, ",")}
		if m == plain {
			s.args = append(s.args, "--mesh-plain")
		}
		if kinds[i] == "d" {
			s.path = derperPath(t)
		}
		s.mustRun(t)
	}
	return nodes
}

func (s *server) mustRun(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatalf("%s: %v\n%s", s.path, err, s.log)
	}
	t.Cleanup(func() { s.finish(t) })
}

// restart kills the node and runs it again, on the same ports, with the same key.
func (s *server) restart(t testing.TB, down time.Duration) *server {
	t.Helper()
	s.stopped, s.dirty = true, true
	s.kill()
	time.Sleep(down)
	n := newServer(t, opts{mode: s.mode, mesh: true, dir: s.dir, args: s.args})
	n.path, n.addr, n.httpAddr, n.stunAddr = s.path, s.addr, s.httpAddr, s.stunAddr
	n.mustRun(t)
	return n
}

// connectAll waits until each client reaches each other one.
func connectAll(t testing.TB, clients ...*raw) {
	t.Helper()
	for _, from := range clients {
		for _, to := range clients {
			if from != to {
				awaitPacket(t, from, to)
			}
		}
	}
	for _, c := range clients {
		c.drain()
	}
}

// drain reads what is there already.
func (r *raw) drain() {
	for {
		if _, err := r.frameBy(time.Now().Add(50 * time.Millisecond)); err != nil {
			return
		}
	}
}

// meshBooks is conservation for a node that may be a derper, which loses forwards uncounted.
func (s *server) meshBooks(t testing.TB) {
	t.Helper()
	if s.path == serverPath {
		s.conservationAfterRace(t)
	}
}

var meshes = [][]string{{"x", "x"}, {"x", "d"}, {"d", "x"}, {"x", "x", "x"}, {"x", "d", "x"}, {"d", "x", "d"}}

func eachMesh(t *testing.T, f func(t *testing.T, nodes []*server)) {
	for _, kinds := range meshes {
		if !isXderp() && slices.Contains(kinds, "d") {
			continue // the same again
		}
		t.Run(strings.Join(kinds, ""), func(t *testing.T) {
			t.Parallel() // mostly waits for derper's next try, 5 s later
			f(t, startNodes(t, tlsName, kinds...))
		})
	}
	if isXderp() {
		t.Run("plain", func(t *testing.T) {
			t.Parallel()
			f(t, startNodes(t, plain, "x", "x"))
		})
	}
}

// Every client reaches every other one, whatever node it is at; contents are right, nothing comes twice.
func TestMeshNodes(t *testing.T) {
	eachMesh(t, func(t *testing.T, nodes []*server) {
		var clients []*raw
		for _, s := range nodes {
			clients = append(clients, s.client(t))
		}
		connectAll(t, clients...)
		for i, from := range clients {
			for j, to := range clients {
				if i == j {
					continue
				}
				for _, n := range []int{0, 1, 31, 62, 1400, 65535, 65536} {
					from.sendTo(to.pub, noise[i+j:i+j+n])
					to.wantPacket(from.pub, noise[i+j:i+j+n])
				}
				from.sendTo(to.pub, discoPacket(100, byte(i)))
				to.wantPacket(from.pub, discoPacket(100, byte(i)))
			}
		}
		for _, c := range clients {
			c.quiet()
		}
		for _, s := range nodes {
			s.meshBooks(t)
			if s.path == serverPath && isXderp() {
				s.wantMetrics(t, map[string]float64{
					"xderp_mesh_links_up": float64(len(nodes) - 1), "xderp_mesh_link_up": float64(len(nodes) - 1),
				})
			}
		}
	})
}

// Both directions at full speed, everything compared.
func TestMeshExchange(t *testing.T) {
	n := uint64(envInt("XDERP_PACKETS", 3000) / 3)
	eachMesh(t, func(t *testing.T, nodes []*server) {
		a, b := nodes[0].client(t), nodes[len(nodes)-1].client(t)
		connectAll(t, a, b)
		before := nodes[0].varz(t)
		exchange(t, a, b, n)
		nodes[0].meshBooks(t)
		if d := nodes[0].varz(t).value("derp_packets_forwarded_out") - before.value("derp_packets_forwarded_out"); d < float64(n) {
			t.Errorf("%v packets forwarded of %d and acknowledgements", d, n)
		}
	})
}

// A client that leaves its node, and a node that dies, are told to those that received from them.
func TestMeshGone(t *testing.T) {
	eachMesh(t, func(t *testing.T, nodes []*server) {
		last := nodes[len(nodes)-1]
		a, b, b2 := nodes[0].client(t), last.client(t), last.client(t)
		connectAll(t, a, b, b2)
		b.c.Close()
		a.wantGone(b.pub, goneDisconnected)
		a.sendTo(b.pub, discoPacket(62, 1))
		a.wantGone(b.pub, goneNotHere)
		a.quiet()

		last.stopped, last.dirty = true, true
		last.kill()
		// derper tells of its death; nobody else of it lives.
		a.wantGone(b2.pub, goneDisconnected)
		until(t, "its keys to be forgotten", func() bool {
			a.sendTo(b2.pub, discoPacket(62, 1))
			f, err := a.frameBy(time.Now().Add(300 * time.Millisecond))
			return err == nil && f.typ == fPeerGone && keyOf(f.body) == b2.pub && f.body[32] == goneNotHere
		})
		nodes[0].meshBooks(t)
	})
}

// A key at two nodes: packets of a third go to the one that had it first, then to the other; at home it wins.
func TestMeshOldestForwarder(t *testing.T) {
	nodes := startNodes(t, tlsName, "x", "x", "x")
	from := nodes[0].client(t)
	first := nodes[1].client(t)
	connectAll(t, from, first, nodes[2].client(t)) // node 0 has heard from both, of its own links too
	before := nodes[0].varz(t)
	second := nodes[2].clientAs(t, first.priv, infoUsual)
	other := nodes[2].client(t) // known at node 0 later than second
	connectAll(t, from, other)
	second.drain()

	from.sendTo(first.pub, []byte("to the first"))
	first.wantPacket(from.pub, []byte("to the first"))
	first.c.Close()
	until(t, "the other node to get it", func() bool {
		from.sendTo(first.pub, []byte("to the second"))
		f, err := second.frameBy(time.Now().Add(100 * time.Millisecond))
		return err == nil && f.typ == fRecvPacket && string(f.body[32:]) == "to the second"
	})
	second.drain()
	from.quiet() // reachable all the time: nobody is told that it left

	home := nodes[0].clientAs(t, first.priv, infoUsual)
	from.sendTo(first.pub, []byte("at home"))
	home.wantPacket(from.pub, []byte("at home"))
	home.c.Close()
	until(t, "back to the other node", func() bool {
		from.sendTo(first.pub, []byte("away"))
		f, err := second.frameBy(time.Now().Add(100 * time.Millisecond))
		return err == nil && f.typ == fRecvPacket && string(f.body[32:]) == "away"
	})
	from.quiet()
	second.drain()
	second.c.Close()
	from.wantGone(first.pub, goneDisconnected)
	if isXderp() { // a derper that finds itself in the list logs in first, and the others hear of it
		nodes[0].wantVarz(t, before, map[string]float64{"derp_multiforwarder_created": 1, "derp_multiforwarder_deleted": 1})
	}
}

// A relay whose list names only itself finds out, and lets go.
func TestMeshWithItself(t *testing.T) {
	nodes := startNodes(t, tlsName, "x")
	s := nodes[0]
	if !isXderp() {
		return // keeps the connection for ever
	}
	until(t, "the link to itself to be given up", func() bool {
		return s.metrics(t).value(`xderp_connections_closed_total{reason="mesh_self"}`) == 1
	})
	until(t, "no connection to be left", func() bool {
		v := s.metrics(t)
		return v.value("derp_current_connections") == 0 && v.value("derp_watchers") == 0 && v.value("xderp_mesh_links_up") == 0
	})
	time.Sleep(1500 * time.Millisecond) // longer than the first retry takes
	if n := s.metrics(t).value("xderp_mesh_dials_total"); n != 1 {
		t.Errorf("dialled %v times", n)
	}
}

// Nodes are killed and run again while everybody sends: other pairs notice nothing, flows to the node come back, and no
// packet is damaged, doubled or out of order.
func TestMeshRestartUnderLoad(t *testing.T) {
	for _, kinds := range [][]string{{"x", "x", "x"}, {"x", "d", "x"}, {"x", "x", "d"}} {
		if !isXderp() && slices.Contains(kinds, "d") {
			continue
		}
		t.Run(strings.Join(kinds, ""), func(t *testing.T) {
			nodes := startNodes(t, tlsName, kinds...)
			a, c := nodes[0].client(t), nodes[2].client(t)
			sender, k := nodes[0].client(t), key.NewNode()
			connectAll(t, a, c)
			go io.Copy(io.Discard, sender.br) // PeerGone
			stop, sent := make(chan bool), make(chan error, 1)
			go func() {
				for seq := uint64(0); ; seq++ {
					select {
					case <-stop:
						sent <- nil
						return
					case <-time.After(200 * time.Microsecond):
					}
					sender.c.SetWriteDeadline(time.Now().Add(patience))
					if _, err := sender.c.Write(encode(fSendPacket, k.Public().AppendTo(nil), payload(7, seq, 600))); err != nil {
						sent <- err
						return
					}
				}
			}()
			steady := make(chan bool)
			var rounds atomic.Int32
			steadyStop := make(chan bool)
			go func() {
				defer close(steady)
				for {
					select {
					case <-steadyStop:
						return
					default:
						exchange(t, a, c, 200)
						rounds.Add(1)
					}
				}
			}()
			last := int64(-1)
			for range 3 {
				r := nodes[1].clientAs(t, k, infoUsual)
				for n := 0; n < 500; n++ {
					from, p := splitPacket(r.want(fRecvPacket))
					seq := int64(binary.BigEndian.Uint64(p[1:]))
					if from != sender.pub || seq <= last || !bytes.Equal(p, payload(7, uint64(seq), 600)) {
						t.Fatalf("packet %d after %d, from %v, %d bytes", seq, last, from.ShortString(), len(p))
					}
					last = seq
				}
				before := rounds.Load()
				nodes[1] = nodes[1].restart(t, 100*time.Millisecond)
				until(t, "the others to go on", func() bool { return rounds.Load() > before+2 })
			}
			close(stop)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			close(steadyStop)
			<-steady
			nodes[0].meshBooks(t)
		})
	}
}

// fakeNode is a node of the mesh that does what the test says: it takes plain connections, one at a time.
type fakeNode struct {
	t     testing.TB
	l     net.Listener
	priv  key.NodePrivate
	conns chan *fakeConn
}

type fakeConn struct {
	*raw
	info string // of ClientInfo
}

func newFakeNode(t testing.TB) *fakeNode {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &fakeNode{t: t, l: l, priv: key.NewNode()}
}

// relayTo runs the server under test with fake nodes in its list.
func relayTo(t testing.TB, args []string, fakes ...*fakeNode) *server {
	t.Helper()
	var list []string
	for _, f := range fakes {
		list = append(list, f.l.Addr().String())
	}
	return start(t, opts{mode: plain, mesh: true, args: append([]string{"--mesh-plain", "-mesh-with", strings.Join(list, ",")}, args...)})
}

func (f *fakeNode) accept() net.Conn {
	f.t.Helper()
	f.l.(*net.TCPListener).SetDeadline(time.Now().Add(patience))
	c, err := f.l.Accept()
	if err != nil {
		f.t.Fatalf("nobody dialled: %v", err)
	}
	f.t.Cleanup(func() { c.Close() })
	return c
}

// login takes one connection and logs it in, as far as WatchConns.
func (f *fakeNode) login() *fakeConn {
	f.t.Helper()
	c := &fakeConn{raw: &raw{t: f.t, c: f.accept()}}
	c.br = bufio.NewReader(c.c)
	req, err := http.ReadRequest(c.br)
	if err != nil || req.URL.Path != "/derp" || !strings.EqualFold(req.Header.Get("Upgrade"), "derp") || req.Host != f.l.Addr().String() {
		f.t.Fatalf("request %+v: %v", req, err)
	}
	io.WriteString(c.c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n")
	c.send(fServerKey, []byte("DERP\xf0\x9f\x94\x91"), f.priv.Public().AppendTo(nil))
	b := c.want(fClientInfo)
	c.pub = keyOf(b)
	text, ok := f.priv.OpenFrom(c.pub, b[32:])
	if !ok {
		f.t.Fatal("ClientInfo does not open")
	}
	c.info = string(text)
	c.send(fServerInfo, f.priv.SealTo(c.pub, []byte(`{"version":2}`)))
	if b := c.want(fWatchConns); len(b) != 0 {
		f.t.Fatalf("WatchConns %x", b)
	}
	return c
}

func (c *fakeConn) present(k key.NodePublic) {
	c.send(fPeerPresent, k.AppendTo(nil), make([]byte, 18), []byte{flagRegular})
}

func nthKey(n uint32) (k key.NodePublic) {
	var b [32]byte
	binary.LittleEndian.PutUint32(b[:], n)
	b[31] = 1
	return keyOf(b[:])
}

// What goes over a link, byte for byte; and what the other side may say on it.
func TestMeshLinkWire(t *testing.T) {
	needXderp(t, "its links are TLS only")
	f := newFakeNode(t)
	s := relayTo(t, nil, f)
	c := f.login()
	if c.pub != s.pub || c.info != `{"meshKey":"`+meshPSK+`","version":2}` {
		t.Errorf("logs in as %v with %s", c.pub, c.info)
	}
	a, far := s.client(t), key.NewNode().Public()
	c.present(far)
	c.present(far)
	c.send(fPing, []byte("12345678"))
	if got := c.want(fPong); string(got) != "12345678" {
		t.Errorf("Pong %q", got)
	}
	for _, n := range []int{0, 1, 700, 65536} {
		a.sendTo(far, noise[:n])
		b := c.want(fForwardPacket)
		if keyOf(b) != a.pub || keyOf(b[32:]) != far || !bytes.Equal(b[64:], noise[:n]) {
			t.Fatalf("forwarded %d bytes: %.80x", n, b)
		}
	}
	s.wantMetrics(t, map[string]float64{"derp_clients_remote": 1, "derp_clients_total": 2, "xderp_mesh_link_peers": 1,
		"derp_packets_forwarded_out": 4, "xderp_bytes_forwarded_out_total": 65536 + 701})

	// Ignored: packets, unknown frames, news about relays.
	c.send(fRecvPacket, far.AppendTo(nil), []byte("x"))
	c.send(0x7f, make([]byte, 1000))
	c.send(fKeepAlive)
	c.send(fHealth, []byte("ill"))
	c.send(fRestarting, make([]byte, 8))
	c.send(fPeerGone, nthKey(1).AppendTo(nil), []byte{0})
	c.sync()

	// Not here is gone too; those who heard of the key must know.
	w := s.meshClient(t)
	w.send(fForwardPacket, far.AppendTo(nil), a.pub.AppendTo(nil), []byte("from afar"))
	a.wantPacket(far, []byte("from afar"))
	c.send(fPeerGone, far.AppendTo(nil), []byte{goneNotHere})
	a.wantGone(far, goneDisconnected)
	// One hop only: what another node forwards never leaves by a link.
	c.present(far)
	c.sync()
	w.send(fForwardPacket, a.pub.AppendTo(nil), far.AppendTo(nil), []byte("two hops"))
	s.wantVarz(t, nil, map[string]float64{`derp_packets_dropped|"unknown_dest_on_fwd"`: 1})
	c.quiet()
	// Frames that no relay sends end it; it comes back.
	c.send(fForwardPacket, make([]byte, 64))
	c.wantClosed()
	c = f.login()
	c.sync()
	s.conservation(t)
}

// 100,000 keys cost their table entries and no more, are found, and are forgotten when the link breaks.
func TestMeshWatchFlood(t *testing.T) {
	needXderp(t, "its links are TLS only")
	const n = 100000
	f := newFakeNode(t)
	s := relayTo(t, nil, f)
	a := s.client(t)
	before := s.varz(t).value("process_resident_memory_bytes")
	for round := range 3 {
		c := f.login()
		w := bufio.NewWriterSize(c.c, 1<<20)
		for i := range uint32(n) {
			k := nthKey(i + uint32(round)*1000)
			w.Write(encode(fPeerPresent, k.AppendTo(nil), make([]byte, 18), []byte{flagRegular}))
		}
		w.Flush()
		c.sync()
		s.wantVarz(t, nil, map[string]float64{"derp_clients_remote": n})
		a.sendTo(nthKey(n-1), []byte("one of many"))
		if b := c.want(fForwardPacket); string(b[64:]) != "one of many" {
			t.Fatalf("%.100x", b)
		}
		c.c.Close()
		s.wantVarz(t, nil, map[string]float64{"derp_clients_remote": 0})
	}
	if used := s.varz(t).value("process_resident_memory_bytes") - before; used > 400*n && !strings.Contains(s.path, "san/") {
		t.Errorf("%.0f bytes per key", used/n)
	}
	a.sync()
}

// Over the limit keys are refused by name, the rest works.
func TestMeshPeerLimit(t *testing.T) {
	needXderp(t, "has no limit")
	f := newFakeNode(t)
	s := relayTo(t, []string{"--max-mesh-peers=100"}, f)
	c := f.login()
	for i := range uint32(150) {
		c.present(nthKey(i))
	}
	c.sync()
	s.wantMetrics(t, map[string]float64{"derp_clients_remote": 100, "xderp_mesh_present_refused_total": 50})
	a := s.client(t)
	a.sendTo(nthKey(99), []byte("x"))
	c.want(fForwardPacket)
	a.sendTo(nthKey(100), discoPacket(62, 0))
	a.wantGone(nthKey(100), goneNotHere)
}

// A watcher that floods us, a node that hangs, one that talks rubbish, one that is not there: each is dialled again, none
// of them delays the relay or a good node.
func TestMeshBadNodes(t *testing.T) {
	needXderp(t, "its links are TLS only")
	answers := map[string]func(c net.Conn){
		"closes":         func(c net.Conn) { c.Close() },
		"not found":      func(c net.Conn) { io.WriteString(c, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n") },
		"no HTTP":        func(c net.Conn) { io.WriteString(c, "SSH-2.0-OpenSSH\r\n\r\n") },
		"endless head":   func(c net.Conn) { c.Write(bytes.Repeat([]byte("HTTP/1.1 200 a\r\n"), 1000)) },
		"wrong frame":    func(c net.Conn) { io.WriteString(c, "HTTP/1.1 101 x\r\n\r\n\x06\x00\x00\x00\x00") },
		"long ServerKey": func(c net.Conn) { io.WriteString(c, "HTTP/1.1 101 x\r\n\r\n\x01\xff\xff\xff\xff") },
		"wrong magic": func(c net.Conn) {
			c.Write(append([]byte("HTTP/1.1 101 x\r\n\r\n"), encode(fServerKey, make([]byte, 40))...))
		},
		"zero key": func(c net.Conn) {
			c.Write(append([]byte("HTTP/1.1 101 x\r\n\r\n"), encode(fServerKey, []byte("DERP\xf0\x9f\x94\x91"), make([]byte, 32))...))
		},
		"wrong ServerInfo": func(c net.Conn) {
			c.Write(append([]byte("HTTP/1.1 101 x\r\n\r\n"), encode(fServerKey, []byte("DERP\xf0\x9f\x94\x91"), key.NewNode().Public().AppendTo(nil))...))
			c.Write(encode(fServerInfo, make([]byte, 53)))
		},
	}
	good, hangs := newFakeNode(t), newFakeNode(t)
	fakes := []*fakeNode{good, hangs}
	var names []string
	for name := range answers {
		names = append(names, name)
		fakes = append(fakes, newFakeNode(t))
	}
	var again [16]atomic.Int32
	for i, name := range names {
		go func() {
			for {
				c, err := fakes[2+i].l.Accept()
				if err != nil {
					return
				}
				again[i].Add(1)
				answers[name](c)
				go func() { // until the other side gives up
					io.Copy(io.Discard, c)
					c.Close()
				}()
			}
		}()
	}
	gone := newFakeNode(t)
	gone.l.Close()
	s := relayTo(t, nil, append(fakes, gone)...)
	c := good.login()
	a, far := s.client(t), key.NewNode().Public()
	c.present(far)
	c.sync()
	until(t, "each bad node to be dialled again", func() bool {
		a.sendTo(far, []byte("still here"))
		c.want(fForwardPacket)
		for i := range names {
			if again[i].Load() < 2 {
				return false
			}
		}
		return true
	})
	log := s.log.String()
	for _, line := range strings.Split(log, "\n") { // the log is limited: which nodes it names is chance
		if strings.Contains(line, "mesh_link_failed") && !regexp.MustCompile(`reason="?[^" ]`).MatchString(line) {
			t.Errorf("a failure without a reason: %s", line)
		}
	}
	s.wantMetrics(t, map[string]float64{"xderp_mesh_links_up": 1})
}

// A node with another mesh key: the log says what to look at.
func TestMeshWrongKey(t *testing.T) {
	needXderp(t, "other words")
	f := newFakeNode(t)
	s := relayTo(t, nil, f)
	for range 2 {
		c := f.login()
		c.c.Close() // as a relay does to a client without rights that asks for WatchConns
	}
	until(t, "a hint", func() bool { return strings.Contains(s.log.String(), "are the mesh keys the same (-mesh-psk-file)?") })
}

// Certificates are checked: by name, and against the roots.
func TestMeshCertificate(t *testing.T) {
	needXderp(t, "other words")
	good := newServer(t, opts{mode: tlsName, mesh: true})
	good.path = serverPath
	good.mustRun(t)
	for _, c := range []struct{ name, env, says string }{
		{"unknown root", "SSL_CERT_FILE=/dev/null", "unable to get local issuer certificate"},
		{"other name", "", "TLS failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := opts{mode: plain, mesh: true, args: []string{"-mesh-with", testName + ":" + portOf(good.addr) + "/127.0.0.1"}}
			if c.env != "" {
				o.env = []string{c.env}
			} else {
				o.args[1] = "127.0.0.1:" + portOf(good.addr)
			}
			s := start(t, o)
			until(t, "the link to fail", func() bool { return strings.Contains(s.log.String(), "mesh_link_failed") })
			if s.metrics(t).value("xderp_mesh_links_up") != 0 {
				t.Error("linked")
			}
			t.Logf("%s", s.log)
		})
	}
}

// The settings' own mistakes are named at the start.
func TestMeshSettings(t *testing.T) {
	for _, c := range []struct {
		list, says string
		mesh       bool
	}{
		{"a.example", "mesh-psk-file", false},
		{"a/b/c", "", true},
		{"a:0", "", true},
	} {
		if !isXderp() && c.list == "a:0" {
			continue // dials port 0 for ever
		}
		t.Run(c.list, func(t *testing.T) {
			s := newServer(t, opts{mode: plain, mesh: c.mesh, args: []string{"-mesh-with", c.list}})
			wantNoStart(t, s, c.says)
		})
	}
	if isXderp() {
		s := newServer(t, opts{mode: plain, mesh: true, args: []string{"-mesh-with", strings.Repeat("a,", 16) + "a"}})
		wantNoStart(t, s, "more than 16")
		s = newServer(t, opts{mode: plain, mesh: true, args: []string{"-mesh-with", "good,bad:x"}})
		wantNoStart(t, s, "bad:x")
	}
}
