// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// What is not a well-formed HTTP/1 request is refused, and the connection closed.
func TestHTTPMalformed(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m})
		for _, c := range []struct {
			name, req string
			status    int
		}{
			{"no Host on 1.1", "GET / HTTP/1.1\r\n\r\n", 400},
			{"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
			{"bad Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
			{"no version", "GET /\r\n\r\n", 400},
			{"bad version", "GET / HTTP/1.x\r\nHost: a\r\n\r\n", 400},
			{"HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
			{"HTTP/3.7", "GET / HTTP/3.7\r\nHost: a\r\n\r\n", 505},
			{"only spaces", " \r\n\r\n", 400},
			{"bad method", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
			{"space in header name", "GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n", 400},
			{"space before colon", "GET / HTTP/1.1\r\nHost: a\r\nX : z\r\n\r\n", 400},
			{"no colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", 400},
			{"control in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", 400},
			{"zero byte in value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", 400},
			{"folded first header", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
			{"bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400},
			{"relative target", "GET derp HTTP/1.1\r\nHost: a\r\n\r\n", 400},
			{"bad length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400},
			{"negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400},
			{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
			{"unknown coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
			{"expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: wonders\r\n\r\n", 417},
		} {
			t.Run(m.String()+"/"+c.name, func(t *testing.T) {
				a := s.ask(t, "GET", c.req)
				if a.status != c.status || !a.closed {
					t.Errorf("%v, want %d and close", a, c.status)
				}
			})
		}
	}
}

func TestHTTPVersionsAndLineEnds(t *testing.T) {
	s := start(t, opts{})
	for _, c := range []struct{ name, req string }{
		{"1.0 without Host", "GET /robots.txt HTTP/1.0\r\n\r\n"},
		{"1.0 keep-alive", "GET /robots.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"},
		{"bare LF", "GET /robots.txt HTTP/1.1\nHost: x\n\n"},
		{"mixed line ends", "GET /robots.txt HTTP/1.1\r\nHost: x\nX: y\r\n\n"},
		{"empty Host", "GET /robots.txt HTTP/1.1\r\nHost:\r\n\r\n"},
		{"absolute target", "GET http://other/robots.txt HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"header in lower case", "GET /robots.txt HTTP/1.1\r\nhost: x\r\n\r\n"},
		{"no space after colon", "GET /robots.txt HTTP/1.1\r\nHost:x\r\n\r\n"},
		{"percent-encoded", "GET /robots%2Etxt HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"30 KiB of headers", "GET /robots.txt HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 30<<10) + "\r\n\r\n"},
		{"100 headers", "GET /robots.txt HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", 100) + "\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := s.ask(t, "GET", c.req)
			if a.status != 200 || a.body != robots {
				t.Errorf("%v", a)
			}
			if keep := c.name == "1.0 keep-alive" || !strings.Contains(c.req, "/1.0"); a.closed == keep {
				t.Errorf("closed %v", a.closed)
			}
		})
	}
}

// Heads beyond the limit get 431 as soon as that is known.
func TestHTTPHeadTooLarge(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			c := s.conn(t)
			go func() {
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n")
				line := "X: " + strings.Repeat("y", 1000) + "\r\n"
				for range 1100 {
					if _, err := io.WriteString(c, line); err != nil {
						return
					}
				}
			}()
			a, err := readAnswer(c, bufio.NewReader(c), "GET")
			if err != nil || a.status != 431 || !a.closed {
				t.Errorf("%v %v", a, err)
			}
			s.client(t).sync()
		})
	}
}

// Requests follow each other on one connection, also when sent all at once or in shreds.
func TestHTTPKeepAliveAndPipelining(t *testing.T) {
	flight := request("GET", "/robots.txt") + request("HEAD", "/robots.txt") + request("GET", "/generate_204") +
		request("POST", "/derp/probe", "Content-Length: 5") + "12345"
	flight += request("POST", "/robots.txt", "Transfer-Encoding: chunked") + "3\r\nabc\r\n0\r\n\r\n" + request("GET", "/derp")
	want := []struct {
		method string
		status int
	}{{"GET", 200}, {"HEAD", 200}, {"GET", 204}, {"POST", 405}, {"POST", 200}, {"GET", 426}}
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m})
		for _, step := range []int{len(flight), 1, 7, 100} {
			t.Run(fmt.Sprintf("%v/%d", m, step), func(t *testing.T) {
				c := s.conn(t)
				go func() {
					for i := 0; i < len(flight); i += step {
						io.WriteString(c, flight[i:min(i+step, len(flight))])
					}
				}()
				br := bufio.NewReader(c)
				for i, w := range want {
					a, err := readAnswer(c, br, w.method)
					if err != nil || a.status != w.status || a.closed {
						t.Fatalf("answer %d: %v %v, want %d", i, a, err, w.status)
					}
				}
			})
		}
		t.Run(m.String()+"/close asked for", func(t *testing.T) {
			c := s.conn(t)
			io.WriteString(c, request("GET", "/robots.txt", "Connection: close"))
			br := bufio.NewReader(c)
			a, err := readAnswer(c, br, "GET")
			if err != nil || !a.closed || a.body != robots {
				t.Fatalf("%v %v", a, err)
			}
			if _, err := br.ReadByte(); err == nil {
				t.Error("bytes behind the answer")
			}
		})
	}
}

// A kept-alive connection can become a DERP connection, with DERP bytes right behind the request.
func TestHTTPThenUpgrade(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			k := key.NewNode()
			r := newRaw(t, s, s.conn(t))
			r.priv, r.pub = k, k.Public()
			b := []byte(request("GET", "/derp/latency-check") + upgradeHead())
			b = append(b, clientInfo(k, s.pub, infoUsual)...)
			r.write(append(b, encode(fPing, []byte("12345678"))...))
			if a, err := readAnswer(r.c, r.br, "GET"); err != nil || a.status != 200 {
				t.Fatalf("%v %v", a, err)
			}
			if err := r.greeting(false); err != nil {
				t.Fatal(err)
			}
			if err := r.serverInfo(); err != nil {
				t.Fatal(err)
			}
			if p := r.want(fPong); string(p) != "12345678" {
				t.Errorf("pong %q", p)
			}
		})
	}
}

func TestUpgradeVariants(t *testing.T) {
	s := start(t, opts{})
	for _, c := range []struct{ name, req string }{
		{"upper case", "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n\r\n"},
		{"lower case", "GET /derp HTTP/1.1\r\nhost: x\r\nupgrade: derp\r\nconnection: upgrade\r\n\r\n"},
		{"odd case", "GET /derp HTTP/1.1\r\nHost: x\r\nuPGRADE: dErP\r\nConnection: Upgrade\r\n\r\n"},
		{"no Connection", "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\n\r\n"},
		{"other Connection", "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\nConnection: close\r\n\r\n"},
		{"query", "GET /derp?a=b HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\n\r\n"},
		{"POST", "POST /derp HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\n\r\n"},
		{"odd method", "BREW /derp HTTP/1.1\r\nHost: x\r\nUpgrade: derp\r\n\r\n"},
		{"1.0", "GET /derp HTTP/1.0\r\nUpgrade: derp\r\n\r\n"},
		{"bare LF", "GET /derp HTTP/1.1\nHost: x\nUpgrade: derp\n\n"},
		{"websocket without its protocol", "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"},
		{"Ideal-Node", "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nIdeal-Node: 1b\r\n\r\n"},
		{"spaces", "GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade:   derp  \r\n\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRaw(t, s, s.conn(t))
			r.write([]byte(c.req))
			if err := r.greeting(false); err != nil {
				t.Fatal(err)
			}
			if err := r.login(key.NewNode(), infoUsual); err != nil {
				t.Fatal(err)
			}
			r.sync()
		})
	}
}

// The 101 is exactly these bytes.
func TestUpgradeAnswerBytes(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m})
		c := s.conn(t)
		io.WriteString(c, upgradeHead())
		want := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: 2\r\nDerp-Public-Key: " +
			s.pub.UntypedHexString() + "\r\n\r\n\x01\x00\x00\x00\x28DERP\xf0\x9f\x94\x91" + string(s.pub.AppendTo(nil))
		if got := readN(t, c, len(want)); string(got) != want {
			t.Errorf("got %q", got)
		}
	}
}

// Silence after the greeting: nothing more may come before ClientInfo.
func TestNothingBeforeClientInfo(t *testing.T) {
	s := start(t, opts{})
	r := s.upgrade(t)
	if f, err := r.frameBy(time.Now().Add(300 * time.Millisecond)); err == nil {
		t.Errorf("got %v", f)
	}
}

func TestDebugAccessFromOtherAddress(t *testing.T) {
	addr := otherAddress()
	if addr == "" {
		t.Skip("no address but loopback here")
	}
	s := start(t, opts{host: addr})
	for _, p := range []string{"/debug/", "/debug/varz", "/debug/vars"} {
		if a := s.ask(t, "GET", request("GET", p)); a.status != 403 || a.body != "debug access denied\n" {
			t.Errorf("%s: %v", p, a)
		}
	}
	s = start(t, opts{host: addr, env: []string{"TS_ALLOW_DEBUG_IP=" + addr}})
	if a := s.ask(t, "GET", request("GET", "/debug/varz")); a.status != 200 {
		t.Errorf("TS_ALLOW_DEBUG_IP: %v", a)
	}
}

// otherAddress is an own IPv4 address that is neither loopback nor one of Tailscale's.
func otherAddress() string {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() && n.IP.To4()[0] != 100 {
			return n.IP.String()
		}
	}
	return ""
}

func TestDebugKey(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/debug.key", "s3cret\n")
	s := start(t, opts{env: []string{"TS_DEBUG_KEY_PATH=" + dir + "/debug.key"}})
	for _, c := range []struct {
		path   string
		status int
	}{{"/debug/varz?debugkey=s3cret", 200}, {"/debug/varz?debugkey=wrong", 403}, {"/debug/varz", 403}} {
		a := s.ask(t, "GET", request("GET", c.path, "X-Forwarded-For: 1.2.3.4"))
		if a.status != c.status {
			t.Errorf("%s: %v", c.path, a)
		}
	}
}
