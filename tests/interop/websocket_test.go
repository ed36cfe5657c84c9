// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"

	"github.com/coder/websocket"
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
	c, resp, err := websocket.Dial(within(t), url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: tr}, Subprotocols: []string{protocol},
	})
	if resp != nil && resp.StatusCode == 501 {
		t.Skip("DERP over WebSocket is not supported by this relay")
	}
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
	s.webSocket(t, "derp") // skips if there is no support
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
		if a.status == 501 {
			t.Skip("DERP over WebSocket is not supported by this relay")
		}
		if a.status != c.status {
			t.Errorf("%s: %v, want %d", c.name, a, c.status)
		}
	}
}
