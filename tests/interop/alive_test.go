// SPDX-License-Identifier: BSD-3-Clause

package interop

// Tests of the relay's long timers. This file sorts first and each test starts its clocks before it
// calls t.Parallel, so that the waiting happens behind the rest of the suite.

import (
	"io"
	"net"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// event is when something happened on a connection watched in the background.
type event struct {
	after time.Duration
	f     frame
	err   error
}

// watch reports the next frame of r, or the end of the connection.
func watch(r *raw, begin time.Time, limit time.Duration) chan event {
	c := make(chan event, 1)
	go func() {
		f, err := r.frameBy(begin.Add(limit))
		c <- event{time.Since(begin), f, err}
	}()
	return c
}

// KeepAlive comes 60 s plus 0 to 5 s after login, whatever else is going on.
func TestKeepAlive(t *testing.T) {
	needTime(t)
	type watched struct {
		name string
		r    *raw
		c    chan event
	}
	var all []watched
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m, mesh: true})
		add := func(name string, r *raw) {
			all = append(all, watched{m.String() + " " + name, r, watch(r, time.Now(), 100*time.Second)})
		}
		add("idle", s.client(t))
		add("idle", s.client(t))
		add("mesh", s.meshClient(t))
		busy := s.client(t)
		add("busy", busy)
		stop := make(chan bool)
		t.Cleanup(func() { close(stop) })
		go func() { // unknown frames are traffic that nothing is answered to
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
					busy.c.Write(encode(0x7f, []byte("busy")))
				}
			}
		}()
	}
	t.Parallel()
	for _, w := range all {
		e := <-w.c
		if e.err != nil || e.f.typ != fKeepAlive || len(e.f.body) != 0 {
			t.Errorf("%s: %v %v after %v, want KeepAlive", w.name, e.f, e.err, e.after)
			continue
		}
		if e.after < 59900*time.Millisecond || e.after > 75*time.Second {
			t.Errorf("%s: KeepAlive after %v", w.name, e.after)
		}
	}
}

// closing is a connection the server must end by itself, at the right time.
type closing struct {
	name     string
	c        net.Conn
	begin    time.Time
	done     chan event // err nil: the server closed
	min, max time.Duration
}

// trickle writes b slowly, starting over, until the server ends the connection.
func (c *closing) trickle(b []byte, every time.Duration) {
	quit := make(chan bool)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-quit:
				return
			case <-time.After(every):
			}
			if _, err := c.c.Write(b[i%len(b) : i%len(b)+1]); err != nil {
				return
			}
		}
	}()
	c.wait(quit)
}

func (c *closing) wait(quit chan bool) {
	c.done = make(chan event, 1)
	go func() {
		c.c.SetReadDeadline(c.begin.Add(c.max))
		_, err := io.Copy(io.Discard, c.c)
		if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
			err = nil // EOF or reset: both are a close
		}
		if quit != nil {
			close(quit)
		}
		c.done <- event{after: time.Since(c.begin), err: err}
	}()
}

// Connections that do not get on are ended: 10 s for the login, 30 s for TLS and HTTP in derper and
// at most that in xderp.
func TestStuckConnectionsAreClosed(t *testing.T) {
	needTime(t)
	var all []*closing
	add := func(name string, c net.Conn, min, max time.Duration) *closing {
		x := &closing{name: name, c: c, begin: time.Now(), min: min, max: max}
		all = append(all, x)
		return x
	}
	for _, m := range []mode{plain, tlsName} {
		s := start(t, opts{mode: m})
		others := s.pair(t)
		const sec = time.Second
		name := m.String() + ": "
		add(name+"TCP and silence", s.tcp(t), 9*sec, 45*sec).wait(nil)
		add(name+"trickled HTTP head", s.conn(t), 9*sec, 45*sec).trickle([]byte("GET /derp HTTP/1.1\r\nHost: x\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"), 700*time.Millisecond)
		add(name+"half an HTTP head", writeTo(t, s.conn(t), "GET / HTTP/1.1\r\n"), 9*sec, 45*sec).wait(nil)
		add(name+"idle after an answer", writeTo(t, s.conn(t), request("GET", "/derp/probe")), 9*sec, 45*sec).wait(nil)
		add(name+"no ClientInfo", s.upgrade(t).c, 9*sec, 30*sec).wait(nil)
		ci := clientInfo(key.NewNode(), s.pub, infoUsual)
		add(name+"trickled ClientInfo", s.upgrade(t).c, 9*sec, 30*sec).trickle(ci, 300*time.Millisecond)
		add(name+"half a ClientInfo", writeTo(t, s.upgrade(t).c, string(ci[:60])), 9*sec, 30*sec).wait(nil)
		if m == tlsName {
			hello := clientHello(t, s)
			add(name+"half a ClientHello", writeTo(t, s.tcp(t), string(hello[:50])), 9*sec, 45*sec).wait(nil)
			add(name+"ClientHello and silence", writeTo(t, s.tcp(t), string(hello)), 9*sec, 45*sec).wait(nil)
			add(name+"trickled ClientHello", s.tcp(t), 9*sec, 45*sec).trickle(hello[:100], 500*time.Millisecond)
			add(name+"port 80 and silence", dialTCP(t, s.httpAddr), 9*sec, 45*sec).wait(nil)
		}
		t.Cleanup(others.relays) // runs before the server stops: it has served others all along
	}
	t.Parallel()
	for _, x := range all {
		e := <-x.done
		if e.err != nil {
			t.Errorf("%s: not closed within %v", x.name, x.max)
		}
		if e.after < x.min {
			t.Errorf("%s: closed after %v already", x.name, e.after)
		}
	}
}

func writeTo(t testing.TB, c net.Conn, b string) net.Conn {
	t.Helper()
	if _, err := io.WriteString(c, b); err != nil {
		t.Fatal(err)
	}
	return c
}

// A logged-in client may be silent for ever: no read timeout.
func TestNoReadTimeoutAfterLogin(t *testing.T) {
	needTime(t)
	s := start(t, opts{})
	r := s.client(t)
	e := watch(r, time.Now(), 45*time.Second)
	t.Parallel()
	if got := <-e; got.err == nil || got.after < 44*time.Second {
		t.Errorf("%v %v after %v", got.f, got.err, got.after)
	}
	r.sync()
}

// A change of home later than 5 s after login is a move; before, it is part of connecting.
func TestHomeMoves(t *testing.T) {
	needTime(t)
	s := start(t, opts{})
	early, late := s.client(t), s.client(t)
	early.send(fNotePreferred, []byte{1})
	early.sync()
	begin := time.Now()
	t.Parallel()
	time.Sleep(time.Until(begin.Add(5500 * time.Millisecond)))
	for _, v := range []byte{1, 1, 0, 1} {
		late.send(fNotePreferred, []byte{v})
	}
	early.send(fNotePreferred, []byte{0})
	s.wantVarz(t, nil, map[string]float64{
		"derp_home_moves_in": 2, "derp_home_moves_out": 2, "derp_current_home_connections": 1,
	})
}
