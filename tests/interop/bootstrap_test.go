// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bootstrap asks for names; the answer must be a whole one, with derper's headers.
func (s *server) bootstrap(t testing.TB, query string) string {
	t.Helper()
	a := s.ask(t, "GET", request("GET", "/bootstrap-dns"+query))
	if a.status != 200 || !a.closed || a.headers.Get("Content-Type") != "application/json" || a.headers.Get("X-Frame-Options") != "DENY" {
		t.Errorf("%v", a)
	}
	return a.body
}

// Byte for byte what derper answers, for names that need no resolver: an address is a name of its own.
func TestBootstrapDNSAnswers(t *testing.T) {
	s := start(t, opts{args: []string{"-bootstrap-dns-names=192.0.2.7,2001:DB8:0:0::1,a_b/c,,10.1.2.3,192.0.2.7",
		"-unpublished-bootstrap-dns-names=198.51.100.1,2001:db8::2/,198.51.100.3/no.such.name.invalid"}})
	all := "{\n\t\"10.1.2.3\": [\n\t\t\"10.1.2.3\"\n\t],\n\t\"192.0.2.7\": [\n\t\t\"192.0.2.7\"\n\t],\n\t\"2001:DB8:0:0::1\": [\n\t\t\"2001:db8::1\"\n\t]\n}"
	one := func(name string) string { return fmt.Sprintf("{\n\t%q: [\n\t\t%[1]q\n\t]\n}", name) }
	until(t, "names to be looked up", func() bool { return s.bootstrap(t, "") != "" })
	until(t, "unpublished ones, too", func() bool { return s.bootstrap(t, "?q=198.51.100.1") == one("198.51.100.1") })
	before := s.varz(t)
	for _, c := range []struct {
		query, want string
		counts      string
	}{
		{"", all, ""},
		{"?q=", all, ""},
		{"?x=198.51.100.1", all, ""},
		{"?q=198.51.100.1", one("198.51.100.1"), "unpublished_hits"},
		{"?a=b&q=198.51.100.1&q=x", one("198.51.100.1"), "unpublished_hits"},
		{"?q=198.51.100%2e1", one("198.51.100.1"), "unpublished_hits"},
		{"?q=2001:db8::2", one("2001:db8::2"), "unpublished_hits"},
		{"?q=198.51.100.3", all, "unpublished_hits unpublished_percent_misses unpublished_misses"},
		{"?q=192.0.2.7", all, "published_hits"},
		{"?q=elsewhere.example", all, "unpublished_misses"},
		{"?q=ELSEWHERE.example", all, "unpublished_misses"},
		{"?q=%zz", all, ""},
	} {
		if got := s.bootstrap(t, c.query); got != c.want {
			t.Errorf("%q: got %q, want %q", c.query, got, c.want)
		}
		now := s.varz(t)
		for _, n := range []string{"requests", "published_hits", "published_misses", "unpublished_hits", "unpublished_misses", "unpublished_percent_misses"} {
			want := 0.0
			if n == "requests" || slices.Contains(strings.Fields(c.counts), n) {
				want = 1
			}
			if got := now.value("bootstrap_dns_"+n) - before.value("bootstrap_dns_"+n); got != want {
				t.Errorf("%q: bootstrap_dns_%s went up by %v, want %v", c.query, n, got, want)
			}
		}
		before = now
	}
	before.wantType("bootstrap_dns_queried_domains", "counter")
	if got := before.value("bootstrap_dns_queried_domains"); got != 6 {
		t.Errorf("%v names were asked for, want 6", got)
	}
}

func TestBootstrapDNSNothingFound(t *testing.T) {
	s := start(t, opts{args: []string{"-bootstrap-dns-names=a b,x..y"}})
	until(t, "the look-up to fail", func() bool { return s.bootstrap(t, "") == "null" })
	s = start(t, opts{args: []string{"-unpublished-bootstrap-dns-names=192.0.2.1"}})
	until(t, "the look-up", func() bool { return s.bootstrap(t, "?q=192.0.2.1") != "" })
	if got := s.bootstrap(t, "?q=other"); got != "" {
		t.Errorf("%q", got)
	}
}

// From loopback a coin decides, for others their address: derper and the relay tell the same ones. The resolver is the
// test's own, in a mount namespace.
func TestBootstrapDNSRollout(t *testing.T) {
	if !ownNetwork(t) {
		return
	}
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	writeFile(t, resolv, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
	os.Chmod(resolv, 0644)
	ips := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"}
	startDNS(t, "127.0.0.1:53", map[string][]string{
		"some.example A": ips[:3], "some.example AAAA": ips[3:],
		"half.example A": {"198.51.100.1"}, "txt.half.example TXT": {"nonsense", "101", "7", "50"},
		"none.example A": {"198.51.100.2"}, "txt.none.example TXT": {"0"},
		"every.example A": {"198.51.100.3"}, "txt.every.example TXT": {"+100"},
		"bad.example A": {"198.51.100.4"}, "txt.bad.example TXT": {"-1", "50%", " 5", ""},
	})
	wrapper := filepath.Join(t.TempDir(), "wrapper")
	writeFile(t, wrapper, fmt.Sprintf("#!/bin/sh\nexec unshare -m sh -c 'mount --bind %s /etc/resolv.conf && exec \"$@\"' sh %s \"$@\"\n", resolv, serverPath))
	os.Chmod(wrapper, 0755)
	if out, err := exec.Command(wrapper, "-version").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace: %v %s", err, out)
	}
	clients := []string{"10.7.0.1", "10.7.0.2", "10.7.0.3", "10.7.0.4", "10.7.0.5", "10.7.0.6"}
	for _, c := range clients {
		ip(t, "address", "add", c+"/32", "dev", "lo")
	}
	o := opts{host: "0.0.0.0", args: append([]string{"-bootstrap-dns-names=some.example", "-unpublished-bootstrap-dns-names=half.example/txt.half.example," +
		"none.example/txt.none.example,every.example/txt.every.example,bad.example/txt.bad.example,no.example"}, serverArgs...)}
	if isXderp() {
		o.args = append(o.args, "--control-socket=")
	}
	s := newServer(t, o)
	s.path = wrapper
	if err := s.run(); err != nil {
		t.Fatalf("%v\n%s", err, s.log)
	}
	t.Cleanup(func() { s.finish(t) })
	var got map[string][]string
	until(t, "names to be looked up", func() bool {
		return json.Unmarshal([]byte(s.bootstrap(t, "")), &got) == nil && len(got) > 0 && s.bootstrap(t, "?q=every.example") != s.bootstrap(t, "")
	})
	sorted := slices.Sorted(slices.Values(got["some.example"]))
	if len(got) != 1 || !slices.Equal(sorted, ips) {
		t.Errorf("%v", got)
	}
	told := func(from, name string) bool {
		t.Helper()
		return strings.Contains(askOn(t, dialFrom(t, from, s.addr), "GET", request("GET", "/bootstrap-dns?q="+name)).body, `"`+name+`"`)
	}
	counts := map[bool]int{}
	for _, from := range clients {
		b := netip.MustParseAddr(from).As16()
		want := 0.5 > rand.New(rand.NewPCG(binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:]))).Float64()
		counts[want]++
		for range 3 {
			if got := told(from, "half.example"); got != want {
				t.Errorf("%s is told: %v, want %v", from, got, want)
			}
		}
		if told(from, "none.example") || !told(from, "every.example") || told(from, "bad.example") || told(from, "no.example") {
			t.Errorf("%s: 0, 100 or no percent went wrong", from)
		}
	}
	if counts[true] == 0 || counts[false] == 0 {
		t.Errorf("the addresses are no choice: %v", counts)
	}
	coin := map[bool]int{}
	for i := 0; i < 200 && (coin[true] == 0 || coin[false] == 0); i++ {
		coin[told("127.0.0.1", "half.example")]++
	}
	if coin[true] == 0 || coin[false] == 0 {
		t.Errorf("no coin is tossed: %v", coin)
	}
}
