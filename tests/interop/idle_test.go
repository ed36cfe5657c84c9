// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
)

// memory is the server's resident set and data segment in KiB.
func (s *server) memory(t testing.TB) (rss, data int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		fmt.Sscanf(line, "VmRSS: %d kB", &rss)
		fmt.Sscanf(line, "RssAnon: %d kB", &data)
	}
	return rss, data
}

// Many idle clients at once: all stay, all are served, and what one costs is printed.
func TestIdleClients(t *testing.T) {
	n := envInt("XDERP_IDLE", 500)
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			s.pair(t).relays()
			before, _ := s.memory(t)
			all := make([]*raw, n)
			for i := range all {
				all[i] = s.client(t)
				all[i].br = nil // the buffer is for reading: given back until then
			}
			after, anon := s.memory(t)
			t.Logf("%d idle %v clients: %d KiB resident (%d KiB anonymous), %.1f KiB each", n, m, after, anon, float64(after-before)/float64(n))
			s.wantVarz(t, nil, map[string]float64{"derp_current_connections": float64(n + 2)})
			for i, r := range all { // a ring of packets: each sends one and gets one
				r.sendTo(all[(i+1)%n].pub, []byte("awake"))
			}
			for i, r := range all {
				r.br = bufio.NewReaderSize(r.c, 64)
				r.wantPacket(all[(i+n-1)%n].pub, []byte("awake"))
				r.c.Close()
			}
		})
	}
}
