// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"fmt"
	"strings"
	"testing"

	"go4.org/mem"
	"tailscale.com/types/key"
)

func privFromHex(t testing.TB, h string) key.NodePrivate {
	t.Helper()
	return key.NodePrivateFromRaw32(mem.B(unhex(t, h)))
}

// vectorServer runs with the vectors' server key and mesh key.
func vectorServer(t testing.TB, v *vectorFile) *server {
	t.Helper()
	if v.Keys.MeshPSKHex != meshPSK {
		t.Fatal("vectors have another mesh key")
	}
	s := start(t, opts{private: v.Keys.Server.Priv, mesh: true})
	if got := s.pub.UntypedHexString(); got != v.Keys.Server.Pub {
		t.Fatalf("server key %s, want %s", got, v.Keys.Server.Pub)
	}
	return s
}

func TestVectorGreeting(t *testing.T) {
	v := vectors(t)
	s := vectorServer(t, v)
	c := s.tcp(t)
	r := newRaw(t, s, c)
	r.write([]byte(upgradeHead()))
	want := v.HTTP101 + string(unhex(t, v.ServerKeyFrameHex))
	if got := readN(t, c, len(want)); string(got) != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// Each ClientInfo of the vectors, byte by byte as recorded.
func TestVectorClientInfo(t *testing.T) {
	v := vectors(t)
	s := vectorServer(t, v)
	others := s.pair(t)
	if len(v.ClientInfo) < 24 {
		t.Fatalf("only %d vectors", len(v.ClientInfo))
	}
	for _, c := range v.ClientInfo {
		t.Run(c.Name, func(t *testing.T) {
			r := s.upgrade(t)
			r.priv = privFromHex(t, c.ClientPriv)
			r.pub = r.priv.Public()
			r.write(unhex(t, c.FrameHex))
			if c.Expect != "accepted" {
				r.wantClosed()
				others.relays()
				return
			}
			if err := r.serverInfo(); err != nil {
				t.Fatal(err)
			}
			r.sync()
			// Mesh rights show in what WatchConns does.
			r.send(fWatchConns)
			if mesh := strings.EqualFold(meshKeyIn(c.JSON), meshPSK); !mesh {
				r.wantClosed()
			} else {
				r.want(fPeerPresent)
			}
			others.relays()
		})
	}
}

// meshKeyIn picks the 64 digits of a mesh key out of a vector's JSON.
func meshKeyIn(text string) string {
	i := strings.Index(strings.ToLower(text), `"meshkey":"`)
	if i < 0 {
		return ""
	}
	k, _, _ := strings.Cut(text[i+11:], `"`)
	return k
}

func TestVectorBadLoginFrames(t *testing.T) {
	v := vectors(t)
	s := vectorServer(t, v)
	others := s.pair(t)
	for _, c := range v.BadFrames {
		t.Run(c.Name, func(t *testing.T) {
			r := s.upgrade(t)
			r.write(unhex(t, c.FrameHex))
			r.wantClosed()
			others.relays()
		})
	}
}

// The all-zero client key is refused; ours must only count it, once per attempt, and not fill the log.
func TestZeroClientKey(t *testing.T) {
	v := vectors(t)
	s := vectorServer(t, v)
	var zero string
	for _, c := range v.BadFrames {
		if c.Name == "zero_client_key" {
			zero = c.FrameHex
		}
	}
	others := s.pair(t)
	const n = 50
	before := len(s.log.String())
	for range n {
		r := s.upgrade(t)
		r.write(unhex(t, zero))
		r.wantClosed()
	}
	others.relays()
	s.alive(t)
	if isXderp() {
		if grown := len(s.log.String()) - before; grown > 4096 {
			t.Errorf("%d refusals wrote %d bytes to the log", n, grown)
		}
		s.wantMetrics(t, map[string]float64{"xderp_zero_key_logins_total": n})
	}
}

// ClientInfo up to 262144 bytes is read; what is in it decides.
func TestBigClientInfo(t *testing.T) {
	s := start(t, opts{})
	pad := func(total int) string { // JSON that makes the frame's length total
		n := total - 32 - 24 - 16 - len(`{"version":2,"x":""}`)
		return `{"version":2,"x":"` + strings.Repeat("y", n) + `"}`
	}
	for _, n := range []int{1000, 4096, 65536, 262144} {
		s.clientAs(t, key.NewNode(), pad(n)).sync()
	}
	r := s.upgrade(t)
	r.c.Write(clientInfo(key.NewNode(), s.pub, pad(262145)))
	r.wantClosed()
}

// The JSON as an unfriendly client would write it. What Go's decoder accepts is accepted.
func TestClientInfoJSON(t *testing.T) {
	s := start(t, opts{mesh: true})
	digits := strings.Repeat("ab", 32)
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{`{"version":2,"nested":{"a":[1,2,{"b":null}]},"s":"\u00e9\n\"\\"}`, true},
		{`{"Version":3,"CANACKPINGS":false}`, true},
		{`{"version":9223372036854775807}`, true},
		{`{"version":-1}`, true},
		{`{"version":null}`, true},
		{`{"version":9223372036854775808}`, false},
		{`{"version":2e0}`, false},
		{`{"version":02}`, false},
		{`{"version":true}`, false},
		{`{"version":[2]}`, false},
		{`{"CanAckPings":1}`, false},
		{`{"CanAckPings":"true"}`, false},
		{`{"IsProber":null}`, true},
		{`{"IsProber":{}}`, false},
		{`{"meshKey":"` + digits + `"}`, true},
		{`{"meshKey":"` + strings.ToUpper(digits) + `"}`, true},
		{`{"meshKey":"` + digits[:63] + `g"}`, false},
		{`{"meshKey":" ` + digits[:62] + ` "}`, false},
		{`{"meshKey":{}}`, false},
		{`{"meshKey":true}`, false},
		{`"text"`, false},
		{`7`, false},
		{`true`, false},
		{`{`, false},
		{`{"version":2`, false},
		{`{"version":2,}`, false},
		{`{version:2}`, false},
		{`{'version':2}`, false},
		{"{\"version\":2}\x00", false},
		{"\xef\xbb\xbf{}", false},
		{`{}{}`, false},
		{`nul`, false},
		{" \t\r\n{ } \t\r\n", true},
		{`{"a":` + strings.Repeat("[", 60) + strings.Repeat("]", 60) + `}`, true},
		{`{"a":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}`, false},
	} {
		name := c.text
		if len(name) > 40 {
			name = name[:40] + "..."
		}
		t.Run(name, func(t *testing.T) {
			r := s.upgrade(t)
			err := r.login(key.NewNode(), c.text)
			if (err == nil) != c.ok {
				t.Errorf("accepted %v (%v), want %v", err == nil, err, c.ok)
			}
		})
	}
}

// A box sealed to another server's key, from another client's key, and with each byte changed.
func TestClientInfoForged(t *testing.T) {
	s := start(t, opts{})
	others := s.pair(t)
	k := key.NewNode()
	good := clientInfo(k, s.pub, infoUsual)
	try := func(name string, b []byte) {
		t.Helper()
		r := s.upgrade(t)
		r.write(b)
		if f, err := r.frame(); err == nil {
			t.Errorf("%s: got %v", name, f)
		}
		r.c.Close()
	}
	try("other server", clientInfo(k, key.NewNode().Public(), infoUsual))
	swapped := append([]byte(nil), good...)
	copy(swapped[5:], key.NewNode().Public().AppendTo(nil))
	try("other client", swapped)
	for i := 5; i < len(good); i++ {
		b := append([]byte(nil), good...)
		b[i] ^= 1
		try(fmt.Sprintf("byte %d", i), b)
	}
	others.relays()
}
