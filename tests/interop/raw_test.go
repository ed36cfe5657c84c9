// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"testing"
	"time"

	"go4.org/mem"
	"tailscale.com/disco"
	"tailscale.com/types/key"
)

// Frame types, from the wire description and not from the package under comparison.
const (
	fServerKey     = 0x01
	fClientInfo    = 0x02
	fServerInfo    = 0x03
	fSendPacket    = 0x04
	fRecvPacket    = 0x05
	fKeepAlive     = 0x06
	fNotePreferred = 0x07
	fPeerGone      = 0x08
	fPeerPresent   = 0x09
	fForwardPacket = 0x0a
	fWatchConns    = 0x10
	fClosePeer     = 0x11
	fPing          = 0x12
	fPong          = 0x13
	fHealth        = 0x14
	fRestarting    = 0x15
)

const (
	goneDisconnected = 0
	goneNotHere      = 1

	maxPacket = 65536

	infoUsual  = `{"version":2,"CanAckPings":true}`
	infoProber = `{"version":2,"CanAckPings":false,"IsProber":true}`
	infoMesh   = `{"meshKey":"` + meshPSK + `","version":2,"CanAckPings":false}`
)

type frame struct {
	typ  byte
	body []byte
}

func (f frame) String() string {
	b := f.body
	if len(b) > 80 {
		b = b[:80]
	}
	return fmt.Sprintf("type %#02x len %d %x", f.typ, len(f.body), b)
}

func encode(typ byte, body ...[]byte) []byte {
	n := 0
	for _, b := range body {
		n += len(b)
	}
	out := binary.BigEndian.AppendUint32([]byte{typ}, uint32(n))
	for _, b := range body {
		out = append(out, b...)
	}
	return out
}

// raw is a connection on which any byte can be sent.
type raw struct {
	t         testing.TB
	s         *server
	c         net.Conn
	br        *bufio.Reader
	priv      key.NodePrivate
	pub       key.NodePublic
	serverKey key.NodePublic
	info      string // plaintext of ServerInfo
}

// tcp dials the main port.
func (s *server) tcp(t testing.TB) *net.TCPConn {
	t.Helper()
	return s.tcpBy(t, &net.Dialer{Timeout: patience})
}

func (s *server) tcpBy(t testing.TB, d *net.Dialer) *net.TCPConn {
	t.Helper()
	c, err := dialRelay(context.Background(), d, s.addr)
	if err != nil {
		t.Fatalf("dial %s: %v", s.addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func dialTCP(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatalf("dial %s: %v", addr, err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// conn dials the main port and does the TLS handshake where there is one.
func (s *server) conn(t testing.TB) net.Conn {
	t.Helper()
	return s.secure(t, s.tcp(t), nil)
}

func (s *server) secure(t testing.TB, c net.Conn, cfg *tls.Config) net.Conn {
	t.Helper()
	if s.mode == plain {
		return c
	}
	if cfg == nil {
		cfg = s.tlsConfig()
	}
	tc := tls.Client(c, cfg)
	tc.SetDeadline(time.Now().Add(patience))
	if err := tc.Handshake(); err != nil {
		t.Fatalf("TLS handshake: %v", err)
	}
	tc.SetDeadline(time.Time{})
	return tc
}

func upgradeHead(headers ...string) string {
	h := "GET /derp HTTP/1.1\r\nHost: " + testName + "\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n"
	for _, x := range headers {
		h += x + "\r\n"
	}
	return h + "\r\n"
}

func newRaw(t testing.TB, s *server, c net.Conn) *raw {
	return &raw{t: t, s: s, c: c, br: bufio.NewReaderSize(c, 64<<10), serverKey: s.pub}
}

// upgrade connects and goes as far as the ServerKey frame.
func (s *server) upgrade(t testing.TB, headers ...string) *raw {
	t.Helper()
	r := newRaw(t, s, s.conn(t))
	if err := r.upgrade(headers...); err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	return r
}

func (r *raw) upgrade(headers ...string) error {
	r.c.SetDeadline(time.Now().Add(patience))
	defer r.c.SetDeadline(time.Time{})
	if _, err := io.WriteString(r.c, upgradeHead(headers...)); err != nil {
		return err
	}
	return r.greeting(slices.Contains(headers, "Derp-Fast-Start: 1"))
}

// greeting reads the 101 (unless fast start) and the ServerKey frame.
func (r *raw) greeting(fast bool) error {
	if !fast {
		resp, err := http.ReadResponse(r.br, nil)
		if err != nil {
			return err
		}
		if resp.StatusCode != 101 {
			return fmt.Errorf("status %s", resp.Status)
		}
	}
	f, err := r.frame()
	if err != nil {
		return err
	}
	magic := "DERP\xf0\x9f\x94\x91"
	if f.typ != fServerKey || len(f.body) != 40 || string(f.body[:8]) != magic {
		return fmt.Errorf("bad ServerKey: %v", f)
	}
	r.serverKey = key.NodePublicFromRaw32(mem.B(f.body[8:40]))
	return nil
}

// clientInfo is a ClientInfo frame with the given plaintext.
func clientInfo(priv key.NodePrivate, server key.NodePublic, text string) []byte {
	return encode(fClientInfo, priv.Public().AppendTo(nil), priv.SealTo(server, []byte(text)))
}

func (r *raw) login(priv key.NodePrivate, text string) error {
	r.priv, r.pub = priv, priv.Public()
	if _, err := r.c.Write(clientInfo(priv, r.serverKey, text)); err != nil {
		return err
	}
	return r.serverInfo()
}

func (r *raw) serverInfo() error {
	f, err := r.frame()
	if err != nil {
		return err
	}
	if f.typ != fServerInfo {
		return fmt.Errorf("want ServerInfo, got %v", f)
	}
	b, ok := r.priv.OpenFrom(r.serverKey, f.body)
	if !ok {
		return errors.New("ServerInfo does not open")
	}
	r.info = string(b)
	return nil
}

// client logs in with a fresh key.
func (s *server) client(t testing.TB) *raw {
	t.Helper()
	return s.clientAs(t, key.NewNode(), infoUsual)
}

// meshClient logs in with the mesh key.
func (s *server) meshClient(t testing.TB) *raw {
	t.Helper()
	return s.clientAs(t, key.NewNode(), infoMesh)
}

func (s *server) clientAs(t testing.TB, priv key.NodePrivate, info string, headers ...string) *raw {
	t.Helper()
	r := s.upgrade(t, headers...)
	if err := r.login(priv, info); err != nil {
		t.Fatalf("login: %v", err)
	}
	return r
}

// frame reads one frame.
func (r *raw) frame() (frame, error) { return r.frameBy(time.Now().Add(patience)) }

// frameBy gives up at end if no frame has begun by then; one that has begun is read whole.
func (r *raw) frameBy(end time.Time) (frame, error) {
	r.c.SetReadDeadline(end)
	h, err := r.br.Peek(5)
	if err != nil {
		return frame{}, err
	}
	n := binary.BigEndian.Uint32(h[1:])
	if n > 1<<20 {
		return frame{}, fmt.Errorf("frame type %#x announces %d bytes", h[0], n)
	}
	f := frame{h[0], make([]byte, n)}
	r.br.Discard(5)
	r.c.SetReadDeadline(time.Now().Add(patience))
	_, err = io.ReadFull(r.br, f.body)
	return f, err
}

// next reads one frame that is not a KeepAlive.
func (r *raw) next() frame {
	r.t.Helper()
	for {
		f, err := r.frame()
		if err != nil {
			r.t.Fatalf("read frame: %v", err)
		}
		if f.typ != fKeepAlive {
			return f
		}
	}
}

func (r *raw) want(typ byte) []byte {
	r.t.Helper()
	f := r.next()
	if f.typ != typ {
		r.t.Fatalf("want frame type %#02x, got %v", typ, f)
	}
	return f.body
}

// wantPacket reads a RecvPacket from src with exactly this payload.
func (r *raw) wantPacket(src key.NodePublic, payload []byte) {
	r.t.Helper()
	from, p := splitPacket(r.want(fRecvPacket))
	if from != src || !bytes.Equal(p, payload) {
		r.t.Fatalf("packet from %v (%d bytes), want from %v (%d bytes); contents equal: %v",
			from.ShortString(), len(p), src.ShortString(), len(payload), bytes.Equal(p, payload))
	}
}

func splitPacket(body []byte) (key.NodePublic, []byte) {
	return key.NodePublicFromRaw32(mem.B(body[:32])), body[32:]
}

func (r *raw) wantGone(peer key.NodePublic, reason byte) {
	r.t.Helper()
	b := r.want(fPeerGone)
	if len(b) != 33 || keyOf(b) != peer || b[32] != reason {
		r.t.Fatalf("PeerGone %x, want %v reason %d", b, peer.ShortString(), reason)
	}
}

func keyOf(b []byte) key.NodePublic { return key.NodePublicFromRaw32(mem.B(b[:32])) }

func (r *raw) write(b []byte) {
	r.t.Helper()
	r.c.SetWriteDeadline(time.Now().Add(patience))
	if _, err := r.c.Write(b); err != nil {
		r.t.Fatalf("write: %v", err)
	}
}

func (r *raw) send(typ byte, body ...[]byte) {
	r.t.Helper()
	r.write(encode(typ, body...))
}

func (r *raw) sendTo(dst key.NodePublic, payload []byte) {
	r.t.Helper()
	r.send(fSendPacket, dst.AppendTo(nil), payload)
}

// sync sends a Ping and reads its Pong, which must be the next frame. What was sent before has
// been handled by then.
func (r *raw) sync() {
	r.t.Helper()
	var b [8]byte
	rand.Read(b[:])
	r.send(fPing, b[:])
	if got := r.want(fPong); !bytes.Equal(got, b[:]) {
		r.t.Fatalf("Pong %x, want %x", got, b)
	}
}

// quiet checks that nothing is under way to r. It cannot fail by being slow, only miss a late frame.
func (r *raw) quiet() {
	r.t.Helper()
	r.sync()
	f, err := r.frameBy(time.Now().Add(100 * time.Millisecond))
	if err == nil && f.typ != fKeepAlive {
		r.t.Fatalf("unexpected frame: %v", f)
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Fatalf("connection lost: %v", err)
	}
	r.sync()
}

// wantClosed reads to the end of the connection; no frame may come before it.
func (r *raw) wantClosed() {
	r.t.Helper()
	f, err := r.frame()
	if err == nil {
		r.t.Fatalf("want close, got %v", f)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		r.t.Fatalf("not closed within %v", patience)
	}
}

// halfClose ends our sending side.
func (r *raw) halfClose() {
	r.t.Helper()
	if err := r.c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		r.t.Fatalf("half close: %v", err)
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// discoPacket has n >= 62 bytes and looks like disco; filler makes it distinct.
func discoPacket(n int, filler byte) []byte {
	p := bytes.Repeat([]byte{filler}, n)
	copy(p, disco.Magic)
	return p
}

// pair is two clients used to prove that others are still served.
type pair struct{ a, b *raw }

func (s *server) pair(t testing.TB) pair {
	t.Helper()
	return pair{s.client(t), s.client(t)}
}

func (p pair) relays() {
	p.a.t.Helper()
	var b [100]byte
	rand.Read(b[:])
	p.a.sendTo(p.b.pub, b[:])
	p.b.wantPacket(p.a.pub, b[:])
	p.b.sendTo(p.a.pub, b[:])
	p.a.wantPacket(p.b.pub, b[:])
}
