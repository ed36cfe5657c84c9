// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"tailscale.com/types/key"
)

// metrics scrapes our own /metrics.
func (s *server) metrics(t testing.TB) *varz {
	t.Helper()
	v, err := s.tryMetrics()
	if err != nil {
		t.Fatalf("/metrics: %v", err)
	}
	v.t = t
	return v
}

// tryMetrics is metrics where the server may refuse the connection.
func (s *server) tryMetrics() (*varz, error) {
	resp, err := s.httpClient().Get(s.url("/metrics"))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != 200 {
		err = errors.New(resp.Status)
	}
	if err != nil {
		return nil, err
	}
	return parseVarz(string(b))
}

// feature tells whether the server says that a feature is in a state.
func (s *server) feature(t testing.TB, name, state string) bool {
	t.Helper()
	return s.metrics(t).sum("xderp_feature", `name="`+name+`"`, `state="`+state+`"`) == 1
}

// descriptors is how many the server has open.
func (s *server) descriptors(t testing.TB) int {
	t.Helper()
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// derperMetrics are the names and types of derper's page that dashboards use.
var derperMetrics = map[string]string{
	"derp_accepts":                             "counter",
	"derp_current_connections":                 "gauge",
	"derp_current_home_connections":            "gauge",
	"derp_current_notideal_connections":        "gauge",
	"derp_clients_local":                       "gauge",
	"derp_clients_remote":                      "gauge",
	"derp_clients_total":                       "gauge",
	"derp_current_dup_client_keys":             "gauge",
	"derp_current_dup_client_conns":            "gauge",
	"derp_total_dup_client_conns":              "counter",
	"derp_watchers":                            "gauge",
	"derp_packets_received":                    "counter",
	"derp_bytes_received":                      "counter",
	"derp_packets_sent":                        "counter",
	"derp_bytes_sent":                          "counter",
	"derp_packets_received_kind":               "counter",
	"derp_packets_dropped":                     "counter",
	"derp_bytes_dropped":                       "counter",
	"derp_packets_forwarded_out":               "counter",
	"derp_packets_forwarded_in":                "counter",
	"derp_peer_gone_disconnected_frames":       "counter",
	"derp_peer_gone_not_here_frames":           "counter",
	"derp_got_ping":                            "counter",
	"derp_sent_pong":                           "counter",
	"derp_home_moves_in":                       "counter",
	"derp_home_moves_out":                      "counter",
	"derp_multiforwarder_created":              "counter",
	"derp_multiforwarder_deleted":              "counter",
	"derp_packet_forwarder_delete_other_value": "counter",
	"derp_sclient_write_timeouts":              "counter",
	"derp_unknown_frames":                      "counter",
	"derp_average_queue_duration_ms":           "",
	"derp_websocket_accepts":                   "counter",
	"stun_requests":                            "counter",
	"stun_addrfamily":                          "counter",
	"process_resident_memory_bytes":            "gauge",
	"process_open_fds":                         "gauge",
	"process_cpu_seconds_total":                "counter",
	"process_start_time_seconds":               "gauge",
}

// wantType checks the TYPE line of a name. "" stands for a number whose type derper does not tell.
func (v *varz) wantType(name, typ string) {
	v.t.Helper()
	got, ok := v.types[name]
	if typ == "" {
		typ = got
		for series := range v.values {
			ok = ok || series == name || strings.HasPrefix(series, name+"{")
		}
	}
	if !ok || got != typ {
		v.t.Errorf("%s: there %v, type %q, want %q", name, ok, got, typ)
	}
}

func TestVarzNames(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	s.client(t).sync()
	v := s.varz(t)
	for name, typ := range derperMetrics {
		v.wantType(name, typ)
	}
	for name, typ := range map[string]string{"derper_tls_request_version": "", "derper_tls_active_version": "gauge",
		"tls_listener_accepted_connections": "counter", "tls_listener_rejected_connections": "counter"} {
		v.wantType(name, typ)
	}
	for _, name := range []string{"derp_packets_dropped", "derp_bytes_dropped"} {
		for _, reason := range []string{"unknown_dest", "unknown_dest_on_fwd", "gone_disconnected", "queue_head", "queue_tail", "write_error", "dup_client"} {
			for _, kind := range []string{"disco", "other"} {
				if _, a := v.values[name+`{reason="`+reason+`",kind="`+kind+`"}`]; a {
					continue
				}
				if _, b := v.values[name+`{kind="`+kind+`",reason="`+reason+`"}`]; !b {
					t.Errorf("%s: no series for %s, %s", name, reason, kind)
				}
			}
		}
	}
	for _, series := range []string{`derp_packets_received_kind{kind="disco"}`, `derp_packets_received_kind{kind="other"}`} {
		if _, ok := v.values[series]; !ok {
			t.Errorf("no %s", series)
		}
	}
}

// After a known run the counters are exactly right.
func TestVarzExact(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m, mesh: true})
			before := s.varz(t)
			a, b := s.client(t), s.clientAs(t, key.NewNode(), infoUsual, "Ideal-Node: x")
			w := s.meshClient(t)
			nobody := key.NewNode().Public()
			a.send(fNotePreferred, []byte{1})
			for range 10 {
				a.sendTo(b.pub, make([]byte, 100)) // 10 x 100, other
				b.wantPacket(a.pub, make([]byte, 100))
			}
			for range 3 {
				b.sendTo(a.pub, discoPacket(70, 0)) // 3 x 70, disco
				a.want(fRecvPacket)
			}
			a.sendTo(nobody, make([]byte, 11))
			a.sendTo(nobody, discoPacket(62, 0))
			a.wantGone(nobody, goneNotHere)
			w.send(fForwardPacket, nobody.AppendTo(nil), a.pub.AppendTo(nil), make([]byte, 40))
			a.want(fRecvPacket)
			w.send(fForwardPacket, a.pub.AppendTo(nil), nobody.AppendTo(nil), make([]byte, 41))
			w.sync()
			w.send(fWatchConns)
			for range 3 {
				w.want(fPeerPresent)
			}
			a.sync()
			a.send(0x7f, nil)
			a.sync()
			s.stunConn(t, s.stunAddr)
			s.wantVarz(t, before, map[string]float64{
				"derp_accepts":                                       3,
				"derp_current_connections":                           3,
				"derp_current_home_connections":                      1,
				"derp_current_notideal_connections":                  1,
				"derp_clients_local":                                 3,
				"derp_clients_total":                                 3,
				"derp_clients_remote":                                0,
				"derp_watchers":                                      1,
				"derp_packets_received":                              15,
				"derp_bytes_received":                                1000 + 210 + 11 + 62,
				`derp_packets_received_kind|"disco"`:                 4,
				`derp_packets_received_kind|"other"`:                 11,
				"derp_packets_sent":                                  14,
				"derp_bytes_sent":                                    1000 + 210 + 40,
				"derp_packets_dropped":                               3,
				"derp_bytes_dropped":                                 11 + 62 + 41,
				`derp_packets_dropped|"unknown_dest" "other"`:        1,
				`derp_packets_dropped|"unknown_dest" "disco"`:        1,
				`derp_packets_dropped|"unknown_dest_on_fwd" "other"`: 1,
				`derp_bytes_dropped|"unknown_dest" "other"`:          11,
				`derp_bytes_dropped|"unknown_dest" "disco"`:          62,
				"derp_packets_forwarded_in":                          2,
				"derp_packets_forwarded_out":                         0,
				"derp_peer_gone_not_here_frames":                     1,
				"derp_got_ping":                                      3,
				"derp_sent_pong":                                     3,
				"derp_home_moves_in":                                 0,
			})
			// The home gauge follows what clients say, once each, and their leaving.
			a.send(fNotePreferred, []byte{1})
			b.send(fNotePreferred, []byte{1})
			s.wantVarz(t, before, map[string]float64{"derp_current_home_connections": 2})
			a.send(fNotePreferred, []byte{0})
			a.send(fNotePreferred, []byte{0})
			s.wantVarz(t, before, map[string]float64{"derp_current_home_connections": 1})
			b.c.Close()
			a.wantGone(b.pub, goneDisconnected)
			w.wantGone(b.pub, goneDisconnected)
			w.c.Close()
			until(t, "two connections to be gone", func() bool {
				return s.varz(t).value("derp_current_connections") == 1
			})
			s.wantVarz(t, before, map[string]float64{
				"derp_current_notideal_connections":  0,
				"derp_current_home_connections":      0,
				"derp_home_moves_in":                 0,
				"derp_home_moves_out":                0,
				"derp_clients_local":                 1,
				"derp_watchers":                      0,
				"derp_peer_gone_disconnected_frames": 2,
				"derp_accepts":                       3,
			})
			s.conservation(t)
		})
	}
}

// What derper has there, but for the sizes of its own mesh updates.
const derpVars = `accepts average_queue_duration_ms bytes_received bytes_sent counter_buffered_write_frames counter_packets_received_kind
	counter_tcp_rtt counter_total_dup_client_conns gauge_clients_local gauge_clients_remote gauge_clients_total gauge_current_connections
	gauge_current_dup_client_conns gauge_current_dup_client_keys gauge_current_file_descriptors gauge_current_home_connections
	gauge_current_notideal_connections gauge_memstats_sys0 gauge_watchers got_ping home_moves_in home_moves_out multiforwarder_created
	multiforwarder_deleted packet_forwarder_delete_other_value packets_forwarded_in packets_forwarded_out packets_received packets_sent
	peer_gone_disconnected_frames peer_gone_not_here_frames sclient_write_timeouts sent_pong unknown_frames version`

// /debug/vars has the same numbers under derper's raw names.
func TestDebugVars(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	a := s.client(t)
	a.sendTo(a.pub, []byte("12345"))
	a.want(fRecvPacket)
	s.wantVarz(t, nil, map[string]float64{"derp_packets_sent": 1})
	_, text := s.get(t, "/debug/vars")
	var v struct {
		Derp map[string]any
		Stun map[string]any
	}
	var all map[string]any
	for _, to := range []any{&v, &all} {
		if err := json.Unmarshal([]byte(text), to); err != nil {
			t.Fatalf("%v: %.300s", err, text)
		}
	}
	for _, name := range strings.Fields(derpVars) {
		if v.Derp[name] == nil {
			t.Errorf("no derp.%s", name)
		}
	}
	for _, name := range strings.Fields("counter_uptime_sec process_start_unix_time counter_bootstrap_dns_requests derp_websocket_accepts version " +
		"derper_tls_request_version gauge_derper_tls_active_version tls_listener") {
		if all[name] == nil {
			t.Errorf("no %s", name)
		}
	}
	for name, want := range map[string]float64{"accepts": 1, "gauge_current_connections": 1, "packets_received": 1,
		"bytes_received": 5, "packets_sent": 1, "gauge_clients_total": 1, "unknown_frames": 0} {
		if v.Derp[name] != want {
			t.Errorf("derp.%s: %v, want %v", name, v.Derp[name], want)
		}
	}
	if v.Stun == nil {
		t.Error("no stun")
	}
}

// /debug/check is right also when a key has two connections.
func TestDebugCheckWithDuplicates(t *testing.T) {
	needXderp(t, "its check raises a false alarm")
	s := start(t, opts{})
	a := s.client(t)
	s.clientAs(t, a.priv, infoUsual).sync()
	if resp, text := s.get(t, "/debug/check"); resp.StatusCode != 200 {
		t.Errorf("%s %s", resp.Status, text)
	}
}

// /metrics is the same page with the names of ours.
func TestMetricsPage(t *testing.T) {
	needXderp(t, "it has no /metrics")
	s := start(t, opts{mode: tlsName})
	r := s.client(t)
	r.send(0x7f, []byte("abc"))
	r.sync()
	v := s.metrics(t)
	if got := v.sum("derp_unknown_frames"); got != 1 {
		t.Errorf("derp_unknown_frames %v, want 1", got)
	}
	for name := range derperMetrics {
		if !strings.Contains(v.text, "\n"+name) {
			t.Errorf("/metrics lacks %s", name)
		}
	}
}
