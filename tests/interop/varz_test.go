// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// varz is a scrape of /debug/varz: values by series ("name" or `name{a="b"}`), types by name.
type varz struct {
	t      testing.TB
	text   string
	values map[string]float64
	types  map[string]string
}

// httpClient talks to the main port with one connection per request.
func (s *server) httpClient() *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   s.tlsConfig(),
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (s *server) url(path string) string {
	if s.mode == plain {
		return "http://" + s.addr + path
	}
	return "https://" + s.addr + path
}

func (s *server) get(t testing.TB, path string) (*http.Response, string) {
	t.Helper()
	resp, err := s.httpClient().Get(s.url(path))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(b)
}

func (s *server) varz(t testing.TB) *varz {
	t.Helper()
	resp, text := s.get(t, "/debug/varz")
	if resp.StatusCode != 200 {
		t.Fatalf("/debug/varz: %s", resp.Status)
	}
	v, err := parseVarz(text)
	if err != nil {
		t.Fatal(err)
	}
	v.t = t
	return v
}

func parseVarz(text string) (*varz, error) {
	v := &varz{text: text, values: map[string]float64{}, types: map[string]string{}}
	sc := bufio.NewScanner(strings.NewReader(text))
	for sc.Scan() {
		line := sc.Text()
		if line == "" {
			continue
		}
		if f := strings.Fields(line); f[0] == "#" {
			if len(f) == 4 && f[1] == "TYPE" {
				v.types[f[2]] = f[3]
			}
			continue
		}
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			return nil, fmt.Errorf("line without value: %q", line)
		}
		x, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("bad value: %q", line)
		}
		v.values[line[:i]] = x
	}
	return v, sc.Err()
}

// value is the value of a series; a series that is not there counts as 0.
func (v *varz) value(series string) float64 { return v.values[series] }

// sum adds all series of a name whose labels contain all of parts.
func (v *varz) sum(name string, parts ...string) (n float64) {
series:
	for s, x := range v.values {
		if s != name && !strings.HasPrefix(s, name+"{") {
			continue
		}
		for _, p := range parts {
			if !strings.Contains(s, p) {
				continue series
			}
		}
		n += x
	}
	return n
}

// drops adds the packets dropped for any reason; ours has reasons that derper's name does not list.
func (s *server) drops(t testing.TB, labels ...string) float64 {
	t.Helper()
	if isXderp() {
		return s.metrics(t).sum("xderp_packets_dropped_total", labels...)
	}
	return s.varz(t).sum("derp_packets_dropped", labels...)
}

// wantVarz waits until all sums are as wanted, since before if that is given. A key is a name or
// "name|label ..." with parts that the labels must contain. Waiting is needed because a packet can
// reach its receiver, and the receiver's next request another thread, before it is counted.
func (s *server) wantVarz(t testing.TB, before *varz, want map[string]float64) {
	t.Helper()
	wantSums(t, s.varz, before, want)
}

// wantMetrics is wantVarz on the page of ours.
func (s *server) wantMetrics(t testing.TB, want map[string]float64) {
	t.Helper()
	wantSums(t, s.metrics, nil, want)
}

func wantSums(t testing.TB, scrape func(testing.TB) *varz, before *varz, want map[string]float64) {
	t.Helper()
	var wrong string
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		v := scrape(t)
		wrong = ""
		for k, n := range want {
			name, labels, _ := strings.Cut(k, "|")
			got := v.sum(name, strings.Fields(labels)...)
			if before != nil {
				got -= before.sum(name, strings.Fields(labels)...)
			}
			if got != n {
				wrong += fmt.Sprintf("\n%s: %v, want %v", k, got, n)
			}
		}
		if wrong == "" {
			return
		}
		if time.Now().After(end) {
			t.Errorf("after %v:%s", patience, wrong)
			return
		}
	}
}

func (s *server) wantNoDrops(t testing.TB) {
	t.Helper()
	v := s.varz(t)
	if v.sum("derp_packets_dropped") == 0 {
		return
	}
	for series, x := range v.values {
		if strings.HasPrefix(series, "derp_packets_dropped") && x != 0 {
			t.Errorf("%s %v", series, x)
		}
	}
}
