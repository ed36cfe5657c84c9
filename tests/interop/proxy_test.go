// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"
)

const proxyIP = "127.0.0.2" // a second address of this machine: the proxy's

// Headers of the PROXY protocol, made from its text and not from the relay's parser.

func proxyV1(text string) []byte { return []byte("PROXY " + text + "\r\n") }

func proxyV2(command, family byte, body ...[]byte) []byte {
	all := slices.Concat(body...)
	h := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x20|command, family)
	return append(binary.BigEndian.AppendUint16(h, uint16(len(all))), all...)
}

func proxyAddress(src string) []byte {
	a := netip.MustParseAddrPort(src)
	b := slices.Concat(a.Addr().AsSlice(), a.Addr().AsSlice())
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(b, a.Port()), 443)
}

// headed puts head in front of what is written first. The first cut bytes leave on their own.
type headed struct {
	*net.TCPConn
	head []byte
	cut  int
}

func (c *headed) Write(b []byte) (int, error) {
	all := append(c.head, b...)
	c.head = nil
	if c.cut > 0 {
		if _, err := c.TCPConn.Write(all[:c.cut]); err != nil {
			return 0, err
		}
		all, c.cut = all[c.cut:], 0
		time.Sleep(time.Millisecond)
	}
	if _, err := c.TCPConn.Write(all); err != nil {
		return 0, err
	}
	return len(b), nil
}

func dialFrom(t testing.TB, ip, addr string) *net.TCPConn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

// proxied is a client that comes through the proxy.
func (s *server) proxied(t testing.TB, head []byte, cut int) *raw {
	t.Helper()
	r := newRaw(t, s, s.secure(t, &headed{dialFrom(t, proxyIP, s.addr), head, cut}, nil))
	if err := r.upgrade(); err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	if err := r.login(key.NewNode(), infoUsual); err != nil {
		t.Fatalf("login: %v", err)
	}
	return r
}

func (s *server) proxiedAsk(t testing.TB, head []byte, path string) answer {
	t.Helper()
	return askOn(t, s.secure(t, &headed{TCPConn: dialFrom(t, proxyIP, s.addr), head: head}, nil), "GET", request("GET", path))
}

// addresses are those of all clients, by key.
func (s *server) addresses(t testing.TB) map[string]string {
	t.Helper()
	m := map[string]string{}
	for _, l := range strings.Split(strings.TrimSpace(s.ctl(t, "peers", "--json")), "\n")[1:] {
		var r struct{ Key, Address string }
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatal(err)
		}
		m[r.Key] = r.Address
	}
	return m
}

// Whatever the header, the stream behind it is served, and the client is known by the address in it.
func TestProxyProtocol(t *testing.T) {
	needXderp(t, "PROXY protocol")
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, control: true, args: []string{"--proxy-protocol-from=10.0.0.0/8," + proxyIP}})
			direct := s.client(t)
			v4, v6 := proxyAddress("198.51.100.7:4711"), proxyAddress("[2001:db8::7]:4712")
			tlvs := append([]byte{0x20, 0x0f, 0x00}, make([]byte, 3840)...)
			own := make([]byte, 216)
			for _, c := range []struct {
				name string
				head []byte
				want string // "": the proxy's own
			}{
				{"v1 TCP4", proxyV1("TCP4 198.51.100.7 203.0.113.1 4711 443"), "198.51.100.7:4711"},
				{"v1 TCP6", proxyV1("TCP6 2001:db8::7 2001:db8::1 4712 443"), "[2001:db8::7]:4712"},
				{"v1 UNKNOWN", proxyV1("UNKNOWN"), ""},
				{"v2 IPv4", proxyV2(1, 0x11, v4), "198.51.100.7:4711"},
				{"v2 IPv6", proxyV2(1, 0x21, v6), "[2001:db8::7]:4712"},
				{"v2 TLVs", proxyV2(1, 0x11, v4, tlvs), "198.51.100.7:4711"},
				{"v2 LOCAL", proxyV2(0, 0x11, v4), ""},
				{"v2 UNSPEC", proxyV2(1, 0, nil), ""},
				{"v2 UNIX", proxyV2(1, 0x31, own), ""},
			} {
				r := s.proxied(t, c.head, 0)
				if c.want == "" {
					c.want = r.c.LocalAddr().String()
				}
				if got := s.addresses(t)[r.pub.String()]; got != c.want {
					t.Errorf("%s: known as %q, want %q", c.name, got, c.want)
				}
				exchange(t, r, direct, 20)
			}
			if got := s.metrics(t).sum("xderp_proxy_headers_total"); got != 9 {
				t.Errorf("%v headers counted, want 9", got)
			}
			if got := s.addresses(t)[direct.pub.String()]; got != direct.c.LocalAddr().String() {
				t.Errorf("who comes directly is known as %q", got)
			}
		})
	}
}

// The header may come in any two pieces, and the stream with the second.
func TestProxyProtocolCuts(t *testing.T) {
	needXderp(t, "PROXY protocol")
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m, args: []string{"--proxy-protocol-from=" + proxyIP}})
		for _, head := range [][]byte{proxyV1("TCP4 198.51.100.7 203.0.113.1 4711 443"),
			proxyV2(1, 0x21, proxyAddress("[2001:db8::7]:4712"), []byte{4, 0, 1, 0})} {
			for cut := 1; cut <= len(head)+1; cut++ {
				r := s.proxied(t, head, cut)
				r.sync()
				r.c.Close()
			}
		}
	}
}

// Who must send a header and sends none, or a wrong one, is closed before anything is read behind it; who need not is never asked, and a header
// from there is what it is: no TLS, no HTTP.
func TestProxyProtocolRefused(t *testing.T) {
	needXderp(t, "PROXY protocol")
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, args: []string{"--proxy-protocol-from=" + proxyIP, "--deny=198.51.100.0/24"}})
			others := s.pair(t)
			good := proxyAddress("192.0.2.7:4711")
			wrong := [][]byte{
				[]byte(upgradeHead()),
				clientHello(t, &server{opts: opts{mode: tlsName, name: testName}}),
				proxyV1("TCP4 192.0.2.7 203.0.113.1 4711"),
				[]byte("PROXY TCP4 192.0.2.7 203.0.113.1 1 2\n"),
				append([]byte("PROXY "), make([]byte, 200)...),
				proxyV2(2, 0x11, good),
				proxyV2(1, 0x21, good),
				proxyV2(1, 0x11, good, []byte{3, 0, 4, 1, 2, 3, 4}),
				proxyV2(1, 0x11, good, make([]byte, 5000)),
			}
			for _, head := range wrong {
				c := dialFrom(t, proxyIP, s.addr)
				c.Write(head)
				c.SetReadDeadline(time.Now().Add(patience))
				if b, err := io.ReadAll(c); len(b) > 0 || isTimeout(err) {
					t.Errorf("%.60q: %d bytes, %v", head, len(b), err)
				}
			}
			s.wantMetrics(t, map[string]float64{
				`xderp_connections_closed_total|"proxy_header"`: float64(len(wrong)), "xderp_proxy_headers_total": 0})

			// The deny list is asked about who is behind the proxy.
			c := &headed{TCPConn: dialFrom(t, proxyIP, s.addr), head: proxyV2(1, 0x11, proxyAddress("198.51.100.9:1"))}
			io.WriteString(c, upgradeHead())
			c.SetReadDeadline(time.Now().Add(patience))
			if b, err := io.ReadAll(c); len(b) > 0 || isTimeout(err) {
				t.Errorf("denied: %d bytes, %v", len(b), err)
			}
			s.wantMetrics(t, map[string]float64{`xderp_connections_closed_total|"denied"`: 1})

			// A header from elsewhere.
			name := map[mode]string{plain: `"http_error"`, tlsName: `"tls_error"`}[m]
			d := s.tcp(t)
			d.Write(append(proxyV2(1, 0x11, good), upgradeHead()...))
			d.SetReadDeadline(time.Now().Add(patience))
			if b, err := io.ReadAll(d); strings.Contains(string(b), "101") || isTimeout(err) {
				t.Errorf("%q %v", b, err)
			}
			s.wantMetrics(t, map[string]float64{`xderp_connections_closed_total|` + name: 1})
			others.relays()
		})
	}
}

func isTimeout(err error) bool {
	n, ok := err.(net.Error)
	return ok && n.Timeout()
}

// A proxy may be told anything by who is behind it: its word for loopback and Tailscale addresses opens no debug page. Networks that
// the operator names are another matter.
func TestProxyProtocolDebug(t *testing.T) {
	needXderp(t, "PROXY protocol")
	s, file := withConfig(t, opts{mode: tlsName}, "proxy-protocol-from = "+proxyIP+"\ndebug-cidrs = 127.0.0.0/24, 192.0.2.0/24, "+proxyIP+"\n")
	check := func(head []byte, want int) {
		t.Helper()
		if a := s.proxiedAsk(t, head, "/debug/varz"); a.status != want {
			t.Errorf("%q: status %d, want %d", head, a.status, want)
		}
	}
	check(proxyV1("TCP4 192.0.2.7 203.0.113.1 1 2"), 200)
	check(proxyV1("TCP4 127.0.0.1 203.0.113.1 1 2"), 200) // so it is said
	check(proxyV1("TCP4 127.1.0.1 203.0.113.1 1 2"), 403)
	check(proxyV1("TCP6 ::1 ::1 1 2"), 403)
	check(proxyV1("TCP4 100.64.0.1 203.0.113.1 1 2"), 403)
	check(proxyV1("UNKNOWN"), 403)
	check(proxyV2(0, 0, nil), 403)

	// Reload: the proxy is a client like any other now, and then again a proxy.
	writeFile(t, file, "debug-cidrs = 192.0.2.0/24\n")
	if r := s.reload(t); !slices.Equal(r.Changed, []string{"proxy-protocol-from", "debug-cidrs"}) {
		t.Fatalf("%+v", r)
	}
	if a := askOn(t, s.secure(t, dialFrom(t, proxyIP, s.addr), nil), "GET", request("GET", "/debug/varz")); a.status != 200 {
		t.Errorf("unlisted, on loopback: status %d", a.status)
	}
	writeFile(t, file, "proxy-protocol-from = "+proxyIP+"/33\n")
	if r := s.reload(t); r.Error == "" || !strings.Contains(strings.Join(r.Faults, ""), "-proxy-protocol-from") {
		t.Errorf("%+v", r)
	}
	writeFile(t, file, "proxy-protocol-from = "+proxyIP+"\n")
	if r := s.reload(t); r.Error != "" {
		t.Errorf("%+v", r)
	}
	check(proxyV1("TCP4 127.0.0.1 203.0.113.1 1 2"), 403)
}
