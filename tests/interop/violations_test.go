// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"
)

func readN(t testing.TB, c net.Conn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	c.SetReadDeadline(time.Now().Add(patience))
	k, err := io.ReadFull(c, b)
	if err != nil {
		t.Fatalf("read %d of %d bytes: %v", k, n, err)
	}
	return b
}

// head is a frame head with any length, true or not.
func head(typ byte, n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{typ}, n) }

const (
	closes = "closed"
	stays  = "stays" // and the Ping that follows is answered
	pongs  = "pongs" // stays, and the frame itself is answered with a Pong of its first 8 bytes
	self   = "self"  // stays, and the payload comes back
)

func TestViolations(t *testing.T) {
	me := key.NewNode()
	own := me.Public().AppendTo(nil)
	other := key.NewNode().Public().AppendTo(nil)
	fill := func(n int) []byte { return bytes.Repeat([]byte{0x5a}, n) }
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m, mesh: true})
		others := s.pair(t)
		for _, c := range []struct {
			name string
			b    []byte
			want string
		}{
			{"WatchConns without mesh key", encode(fWatchConns), closes},
			{"WatchConns with a byte", encode(fWatchConns, fill(1)), closes},
			{"ClosePeer without mesh key", encode(fClosePeer, other), closes},
			{"ClosePeer of oneself", encode(fClosePeer, own), closes},
			{"ForwardPacket without mesh key", encode(fForwardPacket, own, other, fill(1)), closes},
			{"NotePreferred 0 bytes", encode(fNotePreferred), closes},
			{"NotePreferred 1 byte", encode(fNotePreferred, fill(1)), stays},
			{"NotePreferred 2 bytes", encode(fNotePreferred, fill(2)), closes},
			{"Ping 0 bytes", encode(fPing), closes},
			{"Ping 7 bytes", encode(fPing, fill(7)), closes},
			{"Ping 8 bytes", encode(fPing, fill(8)), pongs},
			{"Ping 9 bytes", encode(fPing, fill(9)), pongs},
			{"Ping 1000 bytes", encode(fPing, fill(1000)), pongs},
			{"Ping 1001 bytes", encode(fPing, fill(1001)), closes},
			{"SendPacket 0 bytes", encode(fSendPacket), closes},
			{"SendPacket 31 bytes", encode(fSendPacket, fill(31)), closes},
			{"SendPacket empty payload to self", encode(fSendPacket, own), self},
			{"SendPacket 65536 to self", encode(fSendPacket, own, fill(65536)), self},
			{"SendPacket 65537 to self", encode(fSendPacket, own, fill(65537)), closes},
			{"unknown type 0x7f", encode(0x7f, fill(10)), stays},
			{"unknown type of 70000 bytes", encode(0x7f, fill(70000)), stays},
			{"Pong", encode(fPong, fill(8)), stays},
			{"Pong empty", encode(fPong), stays},
			{"KeepAlive", encode(fKeepAlive), stays},
			{"KeepAlive with body", encode(fKeepAlive, fill(3)), stays},
			{"second ClientInfo", clientInfo(me, s.pub, infoMesh), stays},
			{"ServerKey", encode(fServerKey, fill(40)), stays},
			{"ServerInfo", encode(fServerInfo, fill(53)), stays},
			{"RecvPacket", encode(fRecvPacket, own, fill(3)), stays},
			{"PeerGone", encode(fPeerGone, other, fill(1)), stays},
			{"PeerPresent", encode(fPeerPresent, fill(51)), stays},
			{"Health", encode(fHealth, fill(3)), stays},
			{"Restarting", encode(fRestarting, fill(8)), stays},
			{"type 0 length 0", encode(0), stays},
			{"type 0xff", encode(0xff, fill(1)), stays},
		} {
			t.Run(m.String()+"/"+c.name, func(t *testing.T) {
				r := s.clientAs(t, me, infoUsual)
				r.c.Write(c.b) // the server may close before it has taken all
				r.checkAnswer(c.b, c.want)
				r.c.Close()
				others.relays()
			})
		}
	}
}

// checkAnswer checks what a frame b sent before led to.
func (r *raw) checkAnswer(b []byte, want string) {
	r.t.Helper()
	switch want {
	case closes:
		r.wantClosed()
		return
	case pongs:
		if p := r.want(fPong); !bytes.Equal(p, b[5:13]) {
			r.t.Fatalf("Pong %x, want %x", p, b[5:13])
		}
	case self:
		r.wantPacket(r.pub, b[37:])
	}
	r.sync()
}

// The outcomes recorded in the golden transcripts. Long frames are recorded by prefix: the rest of
// the announced length is zeros.
func TestVectorViolations(t *testing.T) {
	v := vectors(t)
	s := vectorServer(t, v)
	others := s.pair(t)
	a := privFromHex(t, v.Keys.ClientA.Priv)
	n := 0
	for _, tr := range v.Transcripts {
		name, ok := strings.CutPrefix(tr["name"].(string), "violation: ")
		if !ok {
			continue
		}
		n++
		t.Run(name, func(t *testing.T) {
			prefix, _ := tr["sent_prefix"].(string)
			prefix = strings.TrimRight(prefix, ".")
			b := complete(unhex(t, prefix[:len(prefix)&^1]))
			r := s.clientAs(t, a, infoUsual)
			r.c.Write(b)
			switch result := tr["result"].(string); {
			case result == "server closed":
				r.wantClosed()
			case strings.HasPrefix(result, "got frame 0x05"):
				r.wantPacket(r.pub, b[37:])
				r.sync()
			case strings.HasPrefix(result, "got frame 0x13"):
				r.want(fPong)
				r.sync()
			default:
				t.Fatalf("unknown result %q", result)
			}
			r.c.Close()
			others.relays()
		})
	}
	if n < 15 {
		t.Errorf("only %d violations in the vectors", n)
	}
}

// complete appends zeros to b until its frames are whole, and a Ping if the last one has no answer.
func complete(b []byte) []byte {
	for i := 0; ; {
		if len(b)-i < 5 {
			b = append(b[:i], encode(fPing, make([]byte, 8))...)
			return b
		}
		n := 5 + int(binary.BigEndian.Uint32(b[i+1:]))
		if i+n >= len(b) {
			typ := b[i]
			b = append(b, make([]byte, i+n-len(b))...)
			if typ != fPing && typ != fSendPacket {
				b = append(b, encode(fPing, make([]byte, 8))...)
			}
			return b
		}
		i += n
	}
}

// The relay transcript: what was recorded is replayed with the same keys.
func TestVectorFrames(t *testing.T) {
	v := vectors(t)
	s := vectorServer(t, v)
	a := s.clientAs(t, privFromHex(t, v.Keys.ClientA.Priv), infoUsual)
	b := s.clientAs(t, privFromHex(t, v.Keys.ClientB.Priv), infoUsual)
	mesh := s.clientAs(t, privFromHex(t, v.Keys.MeshPeer.Priv), infoMesh)
	by := map[string]string{}
	for _, f := range v.Frames {
		by[f.Name] = f.Hex
	}
	send := func(r *raw, name string) {
		t.Helper()
		if by[name] == "" {
			t.Fatalf("no vector %q", name)
		}
		r.write(unhex(t, by[name]))
	}
	recv := func(r *raw, name string) {
		t.Helper()
		want := unhex(t, by[name])
		f := r.next()
		if got := encode(f.typ, f.body); !bytes.Equal(got, want) {
			t.Fatalf("got %x\nwant %s %x", got, name, want)
		}
	}
	send(a, "send_packet a->b")
	recv(b, "recv_packet from a")
	send(a, "send_packet empty payload")
	recv(b, "recv_packet empty payload")
	send(a, "note_preferred true")
	send(a, "note_preferred false")
	send(a, "ping")
	recv(a, "pong")
	deliver(b, a)
	send(mesh, "close_peer b")
	recv(a, "peer_gone b disconnected")
	b.wantClosed()
}
