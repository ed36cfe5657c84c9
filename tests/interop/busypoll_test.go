// SPDX-License-Identifier: BSD-3-Clause

package interop

import "testing"

// A shard that is told to look for events finds those that come soon; one that is not does not look.
func TestBusyPoll(t *testing.T) {
	needXderp(t, "--busy-poll")
	for _, looks := range []bool{true, false} {
		name := map[bool]string{true: "1ms", false: "0"}[looks]
		t.Run(name, func(t *testing.T) {
			s := start(t, opts{args: []string{"--busy-poll=" + name}})
			if s.feature(t, "busy_poll", "off") == looks {
				t.Error("the feature says something else")
			}
			c := s.client(t)
			pings := func() {
				for range 50 {
					c.sync()
				}
			}
			if looks {
				until(t, "events found before a sleep", func() bool {
					pings()
					return s.metrics(t).sum("xderp_busy_polls_found_total") > 0
				})
				return
			}
			pings()
			if n := s.metrics(t).sum("xderp_busy_polls_total"); n != 0 {
				t.Errorf("looked %v times", n)
			}
		})
	}
}
