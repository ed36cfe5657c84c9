// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dom is the status page as a browser has it after some seconds of its own time.
func (s *server) dom(t testing.TB, browser string) string {
	t.Helper()
	cmd := exec.CommandContext(within(t), browser, "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--enable-logging=stderr",
		"--user-data-dir="+filepath.Join(t.TempDir(), "profile"), "--virtual-time-budget=5000",
		"--host-resolver-rules=MAP "+s.name+" 127.0.0.1", "--dump-dom", "https://"+s.name+":"+portOf(s.addr)+"/debug/status")
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	for _, bad := range []string{"Content Security Policy", "Uncaught", "CONSOLE"} {
		if strings.Contains(log.String(), bad) {
			t.Errorf("the browser complains (%s):\n%s", bad, log.String())
		}
	}
	return string(out)
}

// number is the first number in an element.
func number(t testing.TB, dom, id string) float64 {
	t.Helper()
	m := regexp.MustCompile(`id="` + id + `"[^>]*>(?:<[^>]*>)*([0-9,.]+)`).FindStringSubmatch(dom)
	if m == nil {
		t.Fatalf("no number in %s:\n%s", id, dom)
	}
	n, err := strconv.ParseFloat(strings.ReplaceAll(m[1], ",", ""), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The status page in a browser, while packets pass: numbers are there, and move; its policy lets it do what it needs.
func TestStatusPage(t *testing.T) {
	browser := os.Getenv("XDERP_BROWSER")
	if browser == "" {
		t.Skip("XDERP_BROWSER is not set")
	}
	s := start(t, opts{mode: tlsName})
	a, b := s.client(t), s.client(t)
	go io.Copy(io.Discard, b.br)
	go func() { // until the connection closes with the test
		for packet := encode(fSendPacket, b.pub.AppendTo(nil), []byte("ping")); ; time.Sleep(time.Millisecond) {
			if _, err := a.c.Write(packet); err != nil {
				return
			}
		}
	}()
	first, second := s.dom(t, browser), s.dom(t, browser)
	if n := number(t, first, "clients"); n != 2 {
		t.Errorf("%v clients", n)
	}
	for _, id := range []string{"in", "out"} {
		if number(t, first, id) == 0 {
			t.Errorf("%s: a rate of 0", id)
		}
	}
	points := regexp.MustCompile(`id="g-in".*?points="([^"]*)"`).FindStringSubmatch(first)
	if points == nil || len(strings.Fields(points[1])) < 3 {
		t.Errorf("the page asked too seldom: %v", points)
	}
	shard := regexp.MustCompile(`id="shards".*?</table>`)
	if x, y := shard.FindString(first), shard.FindString(second); x == "" || x == y {
		t.Errorf("the numbers stand still: %s", x)
	}
	for _, want := range []string{">serving<", ">TLS in the relay<", ">max-connections<", ">TLS 1.2 and 1.3 at"} {
		if !strings.Contains(first, want) {
			t.Errorf("no %s in the page", want)
		}
	}
}

// What the page shows is what xderpctl says; the page itself has nothing from elsewhere.
func TestStatusData(t *testing.T) {
	needXderp(t, "it has no such page")
	s := start(t, opts{control: true})
	s.client(t)
	var page, ctl map[string]any
	_, text := s.get(t, "/debug/status.json")
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	s.ctlJSON(t, &ctl, "status")
	for name := range ctl {
		if page[name] == nil {
			t.Errorf("the page has no %s", name)
		}
	}
	if len(page) != len(ctl) {
		t.Errorf("%d members, xderpctl has %d", len(page), len(ctl))
	}
	resp, html := s.get(t, "/debug/status")
	if resp.StatusCode != 200 || regexp.MustCompile(`(src|href)=|https?://| on[a-z]+=`).MatchString(html) {
		t.Errorf("%s, something from elsewhere or a handler in\n%s", resp.Status, html)
	}
	for _, path := range []string{"/readyz", "/healthz"} {
		if resp, body := s.get(t, path); resp.StatusCode != 200 || body != "ok\n" {
			t.Errorf("%s: %s %q", path, resp.Status, body)
		}
	}
}
