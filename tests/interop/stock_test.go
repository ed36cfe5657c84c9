// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"context"
	"net"
	"net/netip"
	"testing"

	"tailscale.com/derp"
	"tailscale.com/derp/derphttp"
	"tailscale.com/net/netmon"
	"tailscale.com/tailcfg"
	"tailscale.com/types/key"
)

// stock is Tailscale's own client, connected, with its received messages on a channel.
type stock struct {
	*derphttp.Client
	t    testing.TB
	pub  key.NodePublic
	msgs chan any // derp messages with their data copied; closed when the connection is lost
	sent wire     // what the client wrote, below TLS
}

// stock connects Tailscale's client the way each mode calls for: by URL with the test CA, or by a
// DERP map node that pins the hash of a self-signed certificate.
func (s *server) stock(t testing.TB, change ...func(*derphttp.Client)) *stock {
	t.Helper()
	k := key.NewNode()
	st := &stock{t: t, pub: k.Public(), msgs: make(chan any, 1000)}
	switch s.mode {
	case tlsIP:
		st.Client = derphttp.NewRegionClient(k, func(string, ...any) {}, netmon.NewStatic(), func() *tailcfg.DERPRegion {
			return s.region(t)
		})
	default:
		url := map[mode]string{plain: "http://" + s.addr, tlsName: "https://" + s.name}[s.mode] + "/derp"
		c, err := derphttp.NewClient(k, url, func(string, ...any) {}, netmon.NewStatic())
		if err != nil {
			t.Fatal(err)
		}
		c.SetURLDialer(func(ctx context.Context, _, _ string) (net.Conn, error) {
			c, err := dialRelay(ctx, &net.Dialer{}, s.addr)
			return &tapped{Conn: c, w: &st.sent}, err
		})
		c.TLSConfig = s.tlsConfig()
		st.Client = c
	}
	for _, f := range change {
		f(st.Client)
	}
	if err := st.Connect(within(t)); err != nil {
		t.Fatalf("derphttp connect: %v", err)
	}
	t.Cleanup(func() { st.Close() })
	ready := make(chan struct{})
	go st.pump(ready)
	select {
	case <-ready:
	case <-within(t).Done():
		t.Fatal("no ServerInfo")
	}
	return st
}

func (s *server) region(t testing.TB) *tailcfg.DERPRegion {
	return &tailcfg.DERPRegion{
		RegionID: 900,
		Nodes: []*tailcfg.DERPNode{{
			Name: "900a", RegionID: 900, HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none",
			CertName: s.certHash(t), DERPPort: portNum(s.addr), STUNPort: portNum(s.stunAddr),
		}},
	}
}

// pump fills msgs and closes ready at ServerInfo: the client does not wait for it, but a packet sent
// to it earlier would find nobody.
func (st *stock) pump(ready chan struct{}) {
	defer close(st.msgs)
	for gen := 0; ; {
		m, g, err := st.RecvDetail()
		if err != nil {
			return
		}
		if gen != 0 && g != gen {
			return // reconnected by itself: the first connection is what tests are about
		}
		if _, ok := m.(derp.ServerInfoMessage); ok && gen == 0 {
			close(ready)
		}
		gen = g
		if p, ok := m.(derp.ReceivedPacket); ok {
			p.Data = append([]byte(nil), p.Data...)
			m = p
		}
		st.msgs <- m
	}
}

// stockWant returns the next message of type T; KeepAlive and ServerInfo are skipped.
func stockWant[T any](st *stock) T {
	st.t.Helper()
	ctx := within(st.t)
	for {
		select {
		case m, ok := <-st.msgs:
			if !ok {
				st.t.Fatal("connection lost")
			}
			switch m.(type) {
			case derp.KeepAliveMessage, derp.ServerInfoMessage:
				if _, want := m.(T); !want {
					continue
				}
			}
			v, ok := m.(T)
			if !ok {
				st.t.Fatalf("got %T %v, want %T", m, m, v)
			}
			return v
		case <-ctx.Done():
			st.t.Fatalf("no %T", *new(T))
		}
	}
}

// tapped records what is written to a connection.
type tapped struct {
	net.Conn
	w *wire
}

func (c *tapped) Write(b []byte) (int, error) {
	c.w.add(b)
	return c.Conn.Write(b)
}

func localAddr(t testing.TB, c net.Conn) netip.AddrPort {
	t.Helper()
	a, err := netip.ParseAddrPort(c.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return a
}
