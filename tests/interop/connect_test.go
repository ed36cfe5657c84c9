// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"sync"
	"testing"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/types/key"
)

var allModes = []mode{plain, tlsName, tlsIP}

// wire collects bytes; safe for two goroutines.
type wire struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *wire) add(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b.Write(b)
}

func (w *wire) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

func TestStockClients(t *testing.T) {
	for _, m := range allModes {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			a, b := s.stock(t), s.stock(t)
			if got := a.ServerPublicKey(); got != s.pub {
				t.Fatalf("server key %v, key file says %v", got, s.pub)
			}
			if si := stockWant[derp.ServerInfoMessage](a); si != (derp.ServerInfoMessage{}) {
				t.Errorf("ServerInfo %+v, want no rate", si)
			}
			exchangeOne(t, a, b, []byte("hello"))
			exchangeOne(t, b, a, nil)
			exchangeOne(t, a, b, bytes.Repeat([]byte{7}, maxPacket))
			exchangeOne(t, a, a, []byte("to myself"))
			ping := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
			if err := a.SendPing(ping); err != nil {
				t.Fatal(err)
			}
			if got := stockWant[derp.PongMessage](a); got != derp.PongMessage(ping) {
				t.Errorf("pong %v", got)
			}
			a.NotePreferred(true)
			exchangeOne(t, b, a, []byte("after NotePreferred"))
			b.Close()
			g := stockWant[derp.PeerGoneMessage](a)
			if g.Peer != b.pub || g.Reason != derp.PeerGoneReasonDisconnected {
				t.Errorf("PeerGone %+v", g)
			}
		})
	}
}

func exchangeOne(t testing.TB, from, to *stock, p []byte) {
	t.Helper()
	if err := from.Send(to.pub, p); err != nil {
		t.Fatal(err)
	}
	got := stockWant[derp.ReceivedPacket](to)
	if got.Source != from.pub || !bytes.Equal(got.Data, p) {
		t.Fatalf("got %d bytes from %v, want %d from %v", len(got.Data), got.Source.ShortString(), len(p), from.pub.ShortString())
	}
}

// A TLS 1.3 client that finds the meta certificate does not wait for the 101.
func TestFastStartUsed(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	for _, c := range []struct {
		name string
		max  uint16
		fast bool
	}{{"1.3", tls.VersionTLS13, true}, {"1.2", tls.VersionTLS12, false}} {
		t.Run(c.name, func(t *testing.T) {
			st := s.stock(t, func(d *derphttp.Client) { d.TLSConfig.MaxVersion = c.max })
			cs, ok := st.TLSConnectionState()
			if !ok || cs.Version != c.max {
				t.Fatalf("TLS state %v %v", ok, cs)
			}
			pub, version := metaKey(cs.PeerCertificates)
			if pub != st.ServerPublicKey() || pub != s.pub || version != 2 {
				t.Errorf("meta certificate says %v version %d; ServerKey %v", pub, version, st.ServerPublicKey())
			}
			exchangeOne(t, st, st, []byte("x"))
		})
	}
}

// metaKey finds the server key in a certificate chain as clients do.
func metaKey(certs []*x509.Certificate) (k key.NodePublic, version int64) {
	for _, c := range certs {
		if h, ok := strings.CutPrefix(c.Subject.CommonName, "derpkey"); ok {
			k.UnmarshalText([]byte("nodekey:" + h))
			return k, c.SerialNumber.Int64()
		}
	}
	return k, 0
}

// In fast start the first byte out is the ServerKey frame, with or without ClientInfo in the same
// flight as the request.
func TestFastStartWire(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			k := key.NewNode()
			head := upgradeHead("Derp-Fast-Start: 1")

			r := newRaw(t, s, s.conn(t))
			r.priv, r.pub = k, k.Public()
			r.write(append([]byte(head), clientInfo(k, s.pub, infoUsual)...))
			if err := r.greeting(true); err != nil {
				t.Fatal(err)
			}
			if err := r.serverInfo(); err != nil {
				t.Fatal(err)
			}
			r.sync()

			r = s.clientAs(t, key.NewNode(), infoUsual, "Derp-Fast-Start: 1")
			r.sync()

			// Only the exact value 1 counts: the others are answered with the 101.
			for _, v := range []string{"0", "true", "11", ""} {
				s.clientAs(t, key.NewNode(), infoUsual, "Derp-Fast-Start: "+v).sync()
			}
		})
	}
}

func TestServerInfoText(t *testing.T) {
	s := start(t, opts{})
	r := s.client(t)
	if r.info != `{"version":2}` {
		t.Errorf("ServerInfo %q", r.info)
	}
	if r.serverKey != s.pub {
		t.Errorf("ServerKey %v, key file %v", r.serverKey, s.pub)
	}
}

// Clients do not wait for ServerInfo: everything in one flight must be served.
func TestPipelinedLogin(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, mesh: true})
			for range 10 {
				k := key.NewNode()
				r := newRaw(t, s, s.conn(t))
				r.priv, r.pub = k, k.Public()
				b := []byte(upgradeHead("Derp-Fast-Start: 1"))
				b = append(b, clientInfo(k, s.pub, infoMesh)...)
				b = append(b, encode(fNotePreferred, []byte{1})...)
				b = append(b, encode(fWatchConns)...)
				b = append(b, encode(fSendPacket, k.Public().AppendTo(nil), []byte("me"))...)
				r.write(b)
				if err := r.greeting(true); err != nil {
					t.Fatal(err)
				}
				if err := r.serverInfo(); err != nil {
					t.Fatal(err)
				}
				present, packet := false, false
				for !present || !packet {
					switch f := r.next(); {
					case f.typ == fPeerPresent && keyOf(f.body) == r.pub:
						present = true
					case f.typ == fRecvPacket && keyOf(f.body) == r.pub:
						packet = true
					case f.typ == fPeerPresent, f.typ == fPeerGone: // an earlier round's client
					default:
						t.Fatalf("unexpected %v", f)
					}
				}
				r.c.Close()
			}
		})
	}
}

// The whole login, cut into single bytes and into every pair of halves.
func TestLoginSplit(t *testing.T) {
	s := start(t, opts{})
	k := key.NewNode()
	flight := func() []byte {
		b := append([]byte(upgradeHead("Derp-Fast-Start: 1")), clientInfo(k, s.pub, infoUsual)...)
		return append(b, encode(fPing, []byte("12345678"))...)
	}
	check := func(t *testing.T, r *raw) {
		t.Helper()
		r.priv, r.pub = k, k.Public()
		if err := r.greeting(true); err != nil {
			t.Fatal(err)
		}
		if err := r.serverInfo(); err != nil {
			t.Fatal(err)
		}
		if p := r.want(fPong); string(p) != "12345678" {
			t.Fatalf("pong %q", p)
		}
		r.c.Close()
	}
	t.Run("bytes", func(t *testing.T) {
		r := newRaw(t, s, s.tcp(t)) // Go sets TCP_NODELAY
		for _, b := range flight() {
			r.write([]byte{b})
		}
		check(t, r)
	})
	t.Run("halves", func(t *testing.T) {
		n := len(flight())
		for i := 1; i < n; i++ {
			r := newRaw(t, s, s.tcp(t))
			b := flight()
			r.write(b[:i])
			r.write(b[i:])
			check(t, r)
		}
	})
}
