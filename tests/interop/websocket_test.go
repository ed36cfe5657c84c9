// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"tailscale.com/derp"
	"tailscale.com/net/wsconn"
	"tailscale.com/types/key"
)

// webSocket dials /derp as a browser would.
func (s *server) webSocket(t testing.TB, protocol string) *websocket.Conn {
	t.Helper()
	tr := &http.Transport{
		TLSClientConfig: s.tlsConfig(),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, s.addr)
		},
	}
	url := map[mode]string{plain: "ws://", tlsName: "wss://"}[s.mode] + testName + "/derp"
	c, _, err := websocket.Dial(within(t), url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{protocol},
	})
	if err != nil {
		t.Fatal(err)
	}
	c.SetReadLimit(1 << 20)
	t.Cleanup(func() { c.CloseNow() })
	return c
}

// webClient is a DERP client over WebSocket.
func (s *server) webClient(t testing.TB) *raw {
	t.Helper()
	c := s.webSocket(t, "derp")
	if c.Subprotocol() != "derp" {
		t.Fatalf("subprotocol %q", c.Subprotocol())
	}
	r := newRaw(t, s, websocket.NetConn(context.Background(), c, websocket.MessageBinary))
	if err := r.greeting(true); err != nil {
		t.Fatal(err)
	}
	if err := r.login(key.NewNode(), infoUsual); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWebSocketRelays(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			a, b := s.webClient(t), s.client(t)
			for _, n := range []int{0, 1, 125, 126, 1400, 30000} {
				a.sendTo(b.pub, noise[:n])
				b.wantPacket(a.pub, noise[:n])
				b.sendTo(a.pub, noise[:n])
				a.wantPacket(b.pub, noise[:n])
			}
			b.sendTo(a.pub, noise[:maxPacket])
			a.wantPacket(b.pub, noise[:maxPacket])
			// Message borders mean nothing.
			f := encode(fSendPacket, b.pub.AppendTo(nil), []byte("in shreds"))
			for i := range f {
				a.write(f[i : i+1])
			}
			b.wantPacket(a.pub, []byte("in shreds"))
			a.sync()
			a.c.Close()
			b.wantGone(a.pub, goneDisconnected)
			if got := s.varz(t).value("derp_websocket_accepts"); got != 1 {
				t.Errorf("derp_websocket_accepts %v", got)
			}
		})
	}
}

func TestWebSocketCloses(t *testing.T) {
	s := start(t, opts{})
	for _, c := range []struct {
		name, protocol string
		typ            websocket.MessageType
		size           int
		want           websocket.StatusCode
	}{
		{"no item is derp", "xderp", 0, 0, 1008},
		{"text message", "derp", websocket.MessageText, 5, 1003},
		{"message over 32768 bytes", "derp", websocket.MessageBinary, 32769, 1009},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := s.webSocket(t, c.protocol)
			if c.size > 0 {
				// The start of a ClientInfo, so that DERP itself finds no fault yet.
				w.Write(within(t), c.typ, append(head(fClientInfo, 100000), make([]byte, c.size-5)...))
			}
			for {
				_, _, err := w.Read(within(t))
				if err == nil {
					continue // the greeting
				}
				var ce websocket.CloseError
				if !errors.As(err, &ce) || ce.Code != c.want {
					t.Errorf("%v, want close code %d", err, c.want)
				}
				return
			}
		})
	}
}

func TestWebSocketPing(t *testing.T) {
	s := start(t, opts{})
	w := s.webSocket(t, "derp")
	go func() { // Ping needs a reader
		for {
			if _, _, err := w.Read(context.Background()); err != nil {
				return
			}
		}
	}()
	if err := w.Ping(within(t)); err != nil {
		t.Error(err)
	}
}

func TestWebSocketRefusals(t *testing.T) {
	s := start(t, opts{})
	const k = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	const p = "Sec-WebSocket-Protocol: derp"
	const v = "Sec-WebSocket-Version: 13"
	for _, c := range []struct {
		name, method string
		send         []string
		status       int
	}{
		{"old version", "GET", []string{"Upgrade: websocket", "Connection: Upgrade", p, k, "Sec-WebSocket-Version: 8"}, 400},
		{"no key", "GET", []string{"Upgrade: websocket", "Connection: Upgrade", p, v}, 400},
		{"POST", "POST", []string{"Upgrade: websocket", "Connection: Upgrade", p, k, v}, 405},
		{"no Connection", "GET", []string{"Upgrade: websocket", p, k, v}, 426},
	} {
		a := s.ask(t, c.method, request(c.method, "/derp", c.send...))
		if a.status != c.status {
			t.Errorf("%s: %v, want %d", c.name, a, c.status)
		}
	}
}

// TestWebSocketOwnClient: Tailscale's own DERP client over its own adapter, as browsers' builds use them.
func TestWebSocketOwnClient(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			own := func() (*derp.Client, key.NodePublic) {
				priv := key.NewNode()
				nc := wsconn.NetConn(context.Background(), s.webSocket(t, "derp"), websocket.MessageBinary, "test")
				brw := bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc))
				c, err := derp.NewClient(priv, nc, brw, t.Logf)
				if err != nil {
					t.Fatal(err)
				}
				if m, err := c.Recv(); err != nil {
					t.Fatal(err)
				} else if _, ok := m.(derp.ServerInfoMessage); !ok {
					t.Fatalf("%T, want ServerInfoMessage", m)
				}
				return c, priv.Public()
			}
			a, ka := own()
			b, kb := own()
			for i := range 200 {
				p := noise[:(i*167)%maxPacketToWeb]
				if err := a.Send(kb, p); err != nil {
					t.Fatal(err)
				}
				m, err := b.Recv()
				if got, ok := m.(derp.ReceivedPacket); err != nil || !ok || got.Source != ka || !bytes.Equal(got.Data, p) {
					t.Fatalf("packet %d of %d bytes: %T, %v", i, len(p), m, err)
				}
			}
		})
	}
}

// A client's message has at most 32768 bytes; Tailscale's client sends a packet as one.
const maxPacketToWeb = 30000

// webFrame is one frame of a client, masked unless mask is nil.
func webFrame(first byte, mask, payload []byte) []byte {
	b := []byte{first}
	bit := byte(0)
	if mask != nil {
		bit = 0x80
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, bit|byte(n))
	case n < 65536:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	}
	b = append(b, mask...)
	for i, c := range payload {
		if mask != nil {
			c ^= mask[i%4]
		}
		b = append(b, c)
	}
	return b
}

var webMask = []byte{1, 2, 3, 0xff}

// webRaw is a WebSocket whose frames the test makes itself; login: and a peer over it.
type webRaw struct {
	t  testing.TB
	nc net.Conn
	r  *bufio.Reader
}

func (s *server) webRaw(t testing.TB) *webRaw {
	t.Helper()
	w := &webRaw{t: t, nc: s.conn(t)}
	w.nc.SetDeadline(time.Now().Add(patience))
	w.r = bufio.NewReader(w.nc)
	io.WriteString(w.nc, request("GET", "/derp", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Protocol: derp", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover"))
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" ||
		resp.Header.Get("Sec-Websocket-Extensions") != "" {
		t.Fatalf("answer to the handshake: %v", resp)
	}
	return w
}

// frame reads one of the server's: not masked, not fragmented.
func (w *webRaw) frame() (op byte, payload []byte, err error) {
	var h [2]byte
	if _, err = io.ReadFull(w.r, h[:]); err != nil {
		return
	}
	n := uint64(h[1])
	switch n {
	case 126:
		var l uint16
		err = binary.Read(w.r, binary.BigEndian, &l)
		n = uint64(l)
	case 127:
		err = binary.Read(w.r, binary.BigEndian, &n)
	}
	if err != nil {
		return
	}
	if h[0]&0x70 != 0 || h[1]&0x80 != 0 || n > 1<<20 {
		w.t.Fatalf("the server's frame begins with %x", h)
	}
	payload = make([]byte, n)
	_, err = io.ReadFull(w.r, payload)
	return h[0], payload, err
}

// wantClose reads to the Close frame and the end behind it; 1005: it carries no code, 0: there is none.
func (w *webRaw) wantClose(want int) {
	w.t.Helper()
	got := 0
	for {
		first, p, err := w.frame()
		if err != nil {
			break
		}
		if got != 0 {
			w.t.Errorf("frame %x behind the Close frame", first)
		}
		if first == 0x88 {
			got = 1005
			if len(p) >= 2 {
				got = int(binary.BigEndian.Uint16(p))
			}
		}
	}
	if got != want {
		w.t.Errorf("close code %d, want %d", got, want)
	}
}

func TestWebSocketHostile(t *testing.T) {
	needXderp(t, "derper closes too, but mostly says 1000, sometimes twice, and takes 5 s over some")
	hello := []byte("\x02\x00\x01\x86\xa0 and more of it")
	cat := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	m := func(first byte, p []byte) []byte { return webFrame(first, webMask, p) }
	for _, c := range []struct {
		name string
		send []byte
		want int
	}{
		{"unmasked", webFrame(0x82, nil, hello), 1002},
		{"compressed", m(0xc2, hello), 1002},
		{"reserved bit", m(0x92, hello), 1002},
		{"opcode 3", m(0x83, hello), 1002},
		{"opcode 15", m(0x8f, nil), 1002},
		{"text", m(0x81, hello), 1003},
		{"continuation of nothing", m(0x80, hello), 1002},
		{"message in a message", cat(m(0x02, hello), m(0x82, hello)), 1002},
		{"fragmented ping", m(0x09, nil), 1002},
		{"ping of 126 bytes", m(0x89, make([]byte, 126)), 1002},
		{"32769 bytes in fragments", cat(m(0x02, append(hello, make([]byte, 32768-len(hello))...)), m(0x80, []byte{1})), 1009},
		{"length not as short as it can be", []byte{0x82, 0xfe, 0, 5, 0, 0, 0, 0, 1, 2, 3, 4, 5}, 1002},
		{"2^62 bytes", []byte{0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1009},
		{"close without a code", m(0x88, nil), 1005},
		{"close 1000", m(0x88, []byte{3, 232}), 1000},
		{"close 4999, with words", m(0x88, []byte("\x13\x87why")), 4999},
		{"close with half a code", m(0x88, []byte{3}), 1002},
		{"close with code 1005", m(0x88, []byte{3, 237}), 1002},
	} {
		for _, md := range []mode{plain, tlsName} {
			t.Run(c.name+"/"+md.String(), func(t *testing.T) {
				s := start(t, opts{mode: md})
				w := s.webRaw(t)
				w.nc.Write(c.send)
				w.wantClose(c.want)
				if c.want == 1002 && serverKind == "xderp" {
					w.nc.Close()
					until(t, "one connection closed by websocket_error", func() bool {
						return s.metrics(t).sum("xderp_connections_closed_total", `"websocket_error"`) == 1
					})
				}
			})
		}
	}
	t.Run("truncated", func(t *testing.T) {
		s := start(t, opts{})
		f := m(0x82, hello)
		for i := range f {
			w := s.webRaw(t)
			w.nc.Write(f[:i])
			w.nc.(*net.TCPConn).CloseWrite()
			w.wantClose(0)
		}
	})
}

// TestWebSocketBooks: pings that nobody reads the answers of, a peer that reads late, messages in any cut, and every packet accounted for.
func TestWebSocketBooks(t *testing.T) {
	needXderp(t, "derper does not count what it writes")
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, args: []string{"-tcp-write-timeout=60s"}}) // it reads late, however slow this machine is
			a, slow := s.client(t), s.webClient(t)
			const total = 3000
			for range total {
				a.sendTo(slow.pub, noise[:8000])
			}
			a.sync()
			got := 0
			for {
				f, err := slow.frameBy(time.Now().Add(2 * time.Second))
				if err != nil {
					break
				}
				if f.typ != fRecvPacket || !bytes.Equal(f.body[32:], noise[:8000]) {
					t.Fatalf("frame %v is torn", f.typ)
				}
				got++
			}
			v := s.metrics(t)
			sent, dropped := v.value("xderp_packets_sent_total"), v.sum("xderp_packets_dropped_total")
			if int(sent) != got || int(sent+dropped) != total {
				t.Errorf("of %d packets %v were sent, %d came, %v were dropped", total, sent, got, dropped)
			}
		})
	}
	t.Run("pings without reading", func(t *testing.T) {
		s := start(t, opts{})
		w := s.webRaw(t)
		ping := bytes.Repeat(webFrame(0x89, webMask, make([]byte, 125)), 1000)
		w.nc.SetDeadline(time.Now().Add(3 * time.Second))
		for range 200 {
			if _, err := w.nc.Write(ping); err != nil {
				break
			}
		}
		if v := s.metrics(t); v.value("xderp_websocket_pongs_skipped_total") == 0 {
			t.Error("each of 200,000 unread pings was answered")
		}
	})
}
