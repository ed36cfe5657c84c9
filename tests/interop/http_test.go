// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// answer is what came back for one request.
type answer struct {
	status  int
	proto   string
	headers http.Header
	body    string
	closed  bool // the server ended the connection after it
}

func (a answer) String() string {
	return fmt.Sprintf("%s %d %v %q closed=%v", a.proto, a.status, a.headers, a.body, a.closed)
}

// readAnswer reads one response to method.
func readAnswer(c net.Conn, br *bufio.Reader, method string) (answer, error) {
	c.SetReadDeadline(time.Now().Add(patience))
	resp, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		return answer{}, err
	}
	b, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, proto: resp.Proto, headers: resp.Header, body: string(b), closed: resp.Close}, err
}

// ask sends request bytes on a new connection to the main port.
func (s *server) ask(t testing.TB, method, request string) answer {
	t.Helper()
	return askOn(t, s.conn(t), method, request)
}

func askOn(t testing.TB, c net.Conn, method, request string) answer {
	t.Helper()
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	a, err := readAnswer(c, bufio.NewReader(c), method)
	if err != nil {
		t.Fatalf("no answer to %.200q: %v", request, err)
	}
	return a
}

func request(method, path string, headers ...string) string {
	r := method + " " + path + " HTTP/1.1\r\nHost: " + testName + "\r\n"
	for _, h := range headers {
		r += h + "\r\n"
	}
	return r + "\r\n"
}

// httpRow is one line of the HTTP table. A header value of "" means: must not be there.
type httpRow struct {
	name    string
	method  string
	path    string
	send    []string
	status  int
	headers map[string]string
	body    string
	has     string // part of the body, where the whole is not fixed
}

func (row httpRow) check(t *testing.T, a answer) {
	t.Helper()
	if a.status != row.status {
		t.Fatalf("status %d, want %d: %v", a.status, row.status, a)
	}
	for h, want := range row.headers {
		if got := a.headers.Get(h); got != want {
			t.Errorf("%s: %q, want %q", h, got, want)
		}
	}
	if row.has == "" && a.body != row.body {
		t.Errorf("body %q, want %q", a.body, row.body)
	}
	if !strings.Contains(a.body, row.has) {
		t.Errorf("body %q lacks %q", a.body, row.has)
	}
}

const csp = "default-src 'self'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; block-all-mixed-content; object-src 'none'"

var security = map[string]string{
	"Strict-Transport-Security": "max-age=63072000; includeSubDomains",
	"X-Frame-Options":           "DENY",
	"X-Content-Type-Options":    "nosniff",
	"Content-Security-Policy":   csp,
}

var noSecurity = map[string]string{
	"Strict-Transport-Security": "", "X-Frame-Options": "", "Content-Security-Policy": "",
}

func with(sets ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, s := range sets {
		for k, v := range s {
			all[k] = v
		}
	}
	return all
}

var (
	plainText = map[string]string{"Content-Type": "text/plain; charset=utf-8"}
	nosniff   = map[string]string{"X-Content-Type-Options": "nosniff"}
	anyOrigin = map[string]string{"Access-Control-Allow-Origin": "*"}
	noCache   = map[string]string{"Cache-Control": "no-cache, no-store, must-revalidate, no-transform, max-age=0"}
	noBody    = map[string]string{"Content-Length": "0"}
)

const (
	upgradeText = "DERP requires connection upgrade\n"
	robots      = "User-agent: *\nDisallow: /\n"
)

func httpTable() []httpRow {
	rows := []httpRow{
		{name: "derp", method: "GET", path: "/derp", status: 426, headers: with(plainText, nosniff, noSecurity), body: upgradeText},
		{name: "derp HEAD", method: "HEAD", path: "/derp", status: 426, headers: plainText},
		{name: "derp POST", method: "POST", path: "/derp", send: []string{"Content-Length: 0"}, status: 426, body: upgradeText},
		{name: "derp query", method: "GET", path: "/derp?x=1", status: 426, body: upgradeText},
		{name: "derp other upgrade", method: "GET", path: "/derp", send: []string{"Upgrade: h2c", "Connection: Upgrade"}, status: 426, body: upgradeText},
		{name: "derp upgrade list", method: "GET", path: "/derp", send: []string{"Upgrade: derp, h2c", "Connection: Upgrade"}, status: 426, body: upgradeText},
		{name: "derp empty upgrade", method: "GET", path: "/derp", send: []string{"Upgrade:"}, status: 426, body: upgradeText},
		{name: "derp/x", method: "GET", path: "/derp/x", status: 200, headers: with(security), has: "DERP"},
		{name: "derp/", method: "GET", path: "/derp/", status: 200, headers: with(security), has: "DERP"},
		{name: "DERP upper case", method: "GET", path: "/DERP", status: 200, headers: with(security), has: "DERP"},
		{name: "204", method: "GET", path: "/generate_204", status: 204, headers: with(noCache, noSecurity, map[string]string{"X-Tailscale-Response": "", "Content-Length": ""})},
		{name: "204 POST", method: "POST", path: "/generate_204", send: []string{"Content-Length: 0"}, status: 204, headers: noCache},
		{name: "204 HEAD", method: "HEAD", path: "/generate_204", status: 204, headers: noCache},
		{name: "robots", method: "GET", path: "/robots.txt", status: 200, headers: with(security, plainText), body: robots},
		{name: "robots HEAD", method: "HEAD", path: "/robots.txt", status: 200, headers: security},
		{name: "robots POST", method: "POST", path: "/robots.txt", send: []string{"Content-Length: 0"}, status: 200, body: robots},
		{name: "bootstrap", method: "GET", path: "/bootstrap-dns", status: 200, headers: with(security, map[string]string{"Content-Type": "application/json"})},
		{name: "bootstrap query", method: "GET", path: "/bootstrap-dns?q=example.com", status: 200, headers: with(map[string]string{"Content-Type": "application/json"})},
		{name: "home", method: "GET", path: "/", status: 200, headers: with(security, map[string]string{"Content-Type": "text/html; charset=utf-8"}), has: "DERP"},
		{name: "home HEAD", method: "HEAD", path: "/", status: 200, headers: security},
		{name: "home POST", method: "POST", path: "/", send: []string{"Content-Length: 0"}, status: 200, has: "DERP"},
		{name: "anything", method: "GET", path: "/no/such/page?x", status: 200, headers: security, has: "DERP"},
		{name: "any method", method: "BREW", path: "/pot", status: 200, has: "DERP"},
		{name: "double slash", method: "GET", path: "//derp", status: 307, headers: map[string]string{"Location": "/derp"}, has: ""},
		{name: "dot dot", method: "GET", path: "/x/../derp", status: 307, headers: map[string]string{"Location": "/derp"}, has: ""},
		{name: "dot", method: "GET", path: "/./robots.txt", status: 307, headers: map[string]string{"Location": "/robots.txt"}, has: ""},
		{name: "dot dot query", method: "GET", path: "/x/..//derp?a=b", status: 307, headers: map[string]string{"Location": "/derp?a=b"}, has: ""},
		{name: "debug", method: "GET", path: "/debug", status: 307, headers: map[string]string{"Location": "/debug/"}, has: "/debug/"},
		{name: "debug page", method: "GET", path: "/debug/", status: 200, headers: map[string]string{"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff"}, has: "html"},
		{name: "varz", method: "GET", path: "/debug/varz", status: 200, has: "derp_accepts"},
		{name: "vars", method: "GET", path: "/debug/vars", status: 200, headers: map[string]string{"Content-Type": "application/json; charset=utf-8"}, has: `"derp"`},
		{name: "check", method: "GET", path: "/debug/check", status: 200, body: "derp.Server ConsistencyCheck okay"},
	}
	for _, p := range []string{"/derp/probe", "/derp/latency-check"} {
		rows = append(rows,
			httpRow{name: p, method: "GET", path: p, status: 200, headers: with(anyOrigin, noBody, noSecurity)},
			httpRow{name: p + " query", method: "GET", path: p + "?a=b", status: 200, headers: with(anyOrigin, noBody)},
			httpRow{name: p + " HEAD", method: "HEAD", path: p, status: 200, headers: with(anyOrigin)},
			httpRow{name: p + " POST", method: "POST", path: p, send: []string{"Content-Length: 0"}, status: 405,
				headers: with(plainText, nosniff, map[string]string{"Access-Control-Allow-Origin": ""}), body: "bogus probe method\n"},
			httpRow{name: p + " OPTIONS", method: "OPTIONS", path: p, status: 405, body: "bogus probe method\n"},
		)
	}
	for _, p := range []string{"/debug/", "/debug/varz", "/debug/vars", "/debug/check", "/debug/no-such"} {
		rows = append(rows, httpRow{name: p + " forwarded", method: "GET", path: p, send: []string{"X-Forwarded-For: 127.0.0.1"},
			status: 403, headers: plainText, body: "debug access denied\n"})
	}
	return append(rows, challengeRows()...)
}

func challengeRows() (rows []httpRow) {
	for _, c := range []struct {
		challenge string
		ok        bool
	}{
		{"ts_1.2.3.4", true}, {"a", true}, {"AZaz09._-:", true}, {strings.Repeat("x", 64), true}, {"ts_[::1]", false},
		{strings.Repeat("x", 65), false}, {"a b", false}, {"a/b", false}, {"a,b", false}, {"\xc3\xa9", false}, {"", false},
	} {
		want := ""
		if c.ok {
			want = "response " + c.challenge
		}
		rows = append(rows, httpRow{name: "204 challenge " + c.challenge, method: "GET", path: "/generate_204",
			send: []string{"X-Tailscale-Challenge: " + c.challenge}, status: 204,
			headers: with(noCache, map[string]string{"X-Tailscale-Response": want})})
	}
	return rows
}

func TestHTTPTable(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m})
		for _, row := range httpTable() {
			t.Run(m.String()+"/"+row.name, func(t *testing.T) {
				if row.status == 307 { // Go adds a small HTML page: only the address matters
					a := s.ask(t, row.method, request(row.method, row.path, row.send...))
					if a.status != 307 || a.headers.Get("Location") != row.headers["Location"] {
						t.Errorf("got %v", a)
					}
					return
				}
				row.check(t, s.ask(t, row.method, request(row.method, row.path, row.send...)))
			})
		}
		t.Run(m.String()+"/dates", func(t *testing.T) {
			a := s.ask(t, "GET", request("GET", "/derp/probe"))
			if _, err := http.ParseTime(a.headers.Get("Date")); err != nil {
				t.Errorf("Date %q", a.headers.Get("Date"))
			}
		})
	}
}

func TestHTTPPort80(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	ask := func(t *testing.T, method, req string) answer {
		return askOn(t, dialTCP(t, s.httpAddr), method, req)
	}
	rows := []httpRow{
		{name: "redirect", method: "GET", path: "/x?y=z", status: 302, headers: map[string]string{"Location": "https://" + testName + "/x?y=z"}},
		{name: "redirect HEAD", method: "HEAD", path: "/x", status: 302, headers: map[string]string{"Location": "https://" + testName + "/x"}},
		{name: "redirect derp", method: "GET", path: "/derp", send: []string{"Upgrade: DERP", "Connection: Upgrade"}, status: 302, headers: map[string]string{"Location": "https://" + testName + "/derp"}},
		{name: "root from outside", method: "GET", path: "/", send: []string{"X-Forwarded-For: 8.8.8.8"}, status: 302, headers: map[string]string{"Location": "https://" + testName + "/"}},
		{name: "probe", method: "GET", path: "/derp/probe", status: 302, headers: map[string]string{"Location": "https://" + testName + "/derp/probe"}},
		{name: "POST", method: "POST", path: "/x", send: []string{"Content-Length: 0"}, status: 400, headers: plainText, body: "Use HTTPS\n"},
		{name: "PUT", method: "PUT", path: "/derp", send: []string{"Content-Length: 0"}, status: 400, body: "Use HTTPS\n"},
		{name: "OPTIONS", method: "OPTIONS", path: "/", status: 400, body: "Use HTTPS\n"},
		{name: "varz", method: "GET", path: "/debug/varz", status: 200, has: "derp_accepts"},
		{name: "debug forwarded", method: "GET", path: "/debug/", send: []string{"X-Forwarded-For: x"}, status: 403, body: "debug access denied\n"},
		{name: "204", method: "GET", path: "/generate_204", status: 204, headers: noCache},
		{name: "204 POST", method: "POST", path: "/generate_204", send: []string{"Content-Length: 0"}, status: 204, headers: noCache},
	}
	for _, row := range append(rows, challengeRows()...) {
		t.Run(row.name, func(t *testing.T) {
			a := ask(t, row.method, request(row.method, row.path, row.send...))
			if row.status == 302 {
				a.body = "" // Go adds a link page
			}
			row.check(t, a)
		})
	}
	t.Run("port in Host is kept", func(t *testing.T) {
		a := ask(t, "GET", "GET /a HTTP/1.1\r\nHost: "+testName+":8080\r\n\r\n")
		if got := a.headers.Get("Location"); a.status != 302 || got != "https://"+testName+":8080/a" {
			t.Errorf("%v", a)
		}
	})
}

func TestHTTPPort80Off(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			o := opts{mode: m}
			if m == tlsName {
				o.args = []string{"-http-port=-1"}
			}
			s := start(t, o)
			s.client(t).sync()
			if c, err := net.Dial("tcp", s.httpAddr); err == nil {
				c.Close()
				t.Error("the second port answers")
			}
		})
	}
}

func TestHTTPHomeVariants(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		row  httpRow
	}{
		{"blank", []string{"-home", "blank"}, httpRow{status: 200, headers: with(security, map[string]string{"Content-Type": "text/html; charset=utf-8"})}},
		{"url", []string{"-home", "https://example.com/x"}, httpRow{status: 302, headers: map[string]string{"Location": "https://example.com/x"}, has: ""}},
		{"url in other letters", []string{"-home", "http://example.com/\u00e9?a=1&b"}, httpRow{status: 302, headers: with(security, map[string]string{"Location": "http://example.com/%c3%a9?a=1&b"})}},
		{"derp off", []string{"-derp=false"}, httpRow{status: 200, headers: security, has: "disabled"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, opts{args: c.args})
			a := s.ask(t, "GET", request("GET", "/"))
			if c.row.status == 302 {
				a.body = ""
			}
			c.row.check(t, a)
			for _, req := range []struct{ method, path string }{{"HEAD", "/"}, {"POST", "/"}, {"BREW", "/pot?x"}, {"GET", "/no/such/page"}, {"GET", "/derp/"}} {
				other := s.ask(t, req.method, request(req.method, req.path, "Content-Length: 0"))
				if c.row.status == 302 {
					other.body = ""
				}
				row := c.row
				if req.method == "HEAD" {
					row.has = ""
				} else if row.has == "" && other.body != a.body {
					t.Errorf("%v: %v, want the same as for GET: %v", req, other, a)
				}
				row.check(t, other)
			}
			if c.name != "derp off" {
				s.client(t).sync()
				return
			}
			for _, h := range [][]string{nil, {"Upgrade: DERP", "Connection: Upgrade"}} {
				row := httpRow{status: 404, headers: with(plainText, nosniff), body: "derp server disabled\n"}
				row.check(t, s.ask(t, "GET", request("GET", "/derp", h...)))
			}
			if a := s.ask(t, "GET", request("GET", "/derp/probe")); a.status != 200 {
				t.Errorf("probe: %v", a)
			}
		})
	}
}

func TestHTTPConnect(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	a := s.ask(t, "CONNECT", "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
	if a.status != 403 || a.body != "CONNECT not enabled\n" {
		t.Errorf("%v", a)
	}
}

func TestHTTPOnTLSPort(t *testing.T) {
	for _, m := range []mode{tlsName, tlsIP} {
		s := start(t, opts{mode: m})
		for _, req := range []string{request("GET", "/"), upgradeHead(), "POST / HTTP/1.0\r\n\r\n", "HEAD / HTTP/1.1\r\nHost: x\r\n\r\n"} {
			c := s.tcp(t)
			io.WriteString(c, req)
			c.SetReadDeadline(time.Now().Add(patience))
			b, err := io.ReadAll(c)
			want := "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
			if string(b) != want {
				t.Errorf("%q: got %q %v", req[:4], b, err)
			}
		}
	}
}
