// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// moved is a line of /debug/traffic.
type moved struct {
	Sent, Recv uint64
	Key        string
}

// traffic is a stream of /debug/traffic, its head read; the status line is what came first.
func (s *server) traffic(t testing.TB) (net.Conn, *bufio.Reader, string) {
	c := s.conn(t)
	fmt.Fprintf(c, "GET /debug/traffic HTTP/1.1\r\nHost: x\r\n\r\n")
	c.SetReadDeadline(time.Now().Add(patience))
	b := bufio.NewReader(c)
	status := ""
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			t.Fatalf("in the head: %v", err)
		}
		if status == "" {
			status = line
		}
		if line == "\r\n" {
			return c, b, status
		}
	}
}

// round reads the lines up to the blank one.
func round(t testing.TB, b *bufio.Reader) map[string]moved {
	t.Helper()
	ret := map[string]moved{}
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			t.Fatalf("in a round: %v", err)
		}
		if line == "\n" {
			return ret
		}
		var m moved
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		ret[m.Key] = m
	}
}

// rounds reads until the lines are as wanted: what a client has received may be counted a moment later.
func rounds(t testing.TB, b *bufio.Reader, want ...moved) map[string]moved {
	t.Helper()
	got := map[string]moved{}
	for range 4 {
		for k, m := range round(t, b) {
			got[k] = m
		}
		right := true
		for _, w := range want {
			right = right && got[w.Key] == w
		}
		if right {
			return got
		}
	}
	t.Fatalf("%v, want %v", got, want)
	return nil
}

func TestTrafficStream(t *testing.T) {
	needXderp(t, "counts bytes of sockets, by running ss")
	s := start(t, opts{mode: plain})
	a, b, idle := s.client(t), s.client(t), s.client(t)
	keyA, keyB, keyIdle := a.pub.String(), b.pub.String(), idle.pub.String()
	a.sendTo(b.pub, make([]byte, 1000))
	b.want(fRecvPacket)
	c, lines, status := s.traffic(t)
	if !strings.HasPrefix(status, "HTTP/1.1 200 ") {
		t.Fatal(status)
	}
	if got := rounds(t, lines, moved{0, 1000, keyA}, moved{1000, 0, keyB}); len(got) != 2 {
		t.Errorf("more than who moved something: %v", got)
	}
	b.sendTo(idle.pub, make([]byte, 500))
	idle.want(fRecvPacket)
	if got := rounds(t, lines, moved{1000, 500, keyB}, moved{500, 0, keyIdle}); len(got) != 2 {
		t.Errorf("one that moved nothing since: %v", got)
	}
	// Further requests are not answered, and do no harm.
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if got := round(t, lines); len(got) != 0 {
		t.Errorf("nobody moved anything, but %v", got)
	}
	c.Close()
	until(t, "the stream to be over", func() bool { return s.metrics(t).value("xderp_traffic_streams") == 0 })
}

// Four per shard; which shard a connection gets is chance.
func TestTrafficStreamsAreLimited(t *testing.T) {
	needXderp(t, "has no limit")
	s := start(t, opts{mode: tlsName})
	most := 4 * s.metrics(t).value("xderp_shards")
	n := 0.
	for ; ; n++ {
		_, _, status := s.traffic(t)
		if strings.HasPrefix(status, "HTTP/1.1 503 ") {
			break
		}
		if !strings.HasPrefix(status, "HTTP/1.1 200 ") || n == most {
			t.Fatalf("after %v streams: %s", n, status)
		}
	}
	if n < 4 || s.metrics(t).value("xderp_traffic_streams") != n {
		t.Errorf("%v streams, the relay counts %v", n, s.metrics(t).value("xderp_traffic_streams"))
	}
	s.client(t).sync() // the relay goes on
}
