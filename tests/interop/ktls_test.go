// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// needKTLS skips a test unless the server was told to use kernel TLS, which it does not start without.
func needKTLS(t testing.TB) {
	t.Helper()
	if !slices.Contains(serverArgs, "--ktls=on") {
		t.Skip("only with --ktls=on: the kernel of tools/vm has kTLS")
	}
}

// tlsStat is what the kernel itself counted (Documentation/networking/tls.rst).
func tlsStat(t testing.TB) map[string]int {
	t.Helper()
	b, err := os.ReadFile("/proc/net/tls_stat")
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]int{}
	for sc := bufio.NewScanner(bytes.NewReader(b)); sc.Scan(); {
		var name string
		var n int
		if k, _ := fmt.Sscan(sc.Text(), &name, &n); k == 2 {
			m[name] = n
		}
	}
	return m
}

// mostlySmall gives every size from 1 to the maximum, and a mean of 500 bytes: a guest CPU is slow.
func mostlySmall(stream, seq uint64) int {
	r := mrand.New(mrand.NewPCG(stream, seq+1<<40))
	switch n := r.IntN(1000); {
	case n < 2:
		return maxPacket
	case n < 5:
		return 1 + r.IntN(maxPacket)
	case n < 20:
		return 1 + r.IntN(9000)
	case n < 100:
		return 1 + r.IntN(1500)
	default:
		return 1 + r.IntN(400)
	}
}

// The kernel carries all of it, both ways, and every byte is compared.
func TestKTLSExchange(t *testing.T) {
	needKTLS(t)
	s := start(t, opts{mode: tlsName}) // which loads the module
	before := tlsStat(t)
	a, b := s.client(t), s.client(t)
	n := uint64(envInt("XDERP_KTLS_PACKETS", 50000))
	begin := time.Now()
	exchangeSizes(t, a, b, n, mostlySmall)
	s.wantNoDrops(t)
	after := tlsStat(t)
	t.Logf("%d frames in %v", 2*n, time.Since(begin).Round(time.Second))
	for _, name := range []string{"TlsCurrTxSw", "TlsCurrRxSw", "TlsTxSw", "TlsRxSw", "TlsTxDevice", "TlsRxDevice",
		"TlsDecryptError", "TlsRxNoPadViolation"} {
		t.Logf("/proc/net/tls_stat: %s %+d", name, after[name]-before[name])
	}
	for _, name := range []string{"TlsCurrTxSw", "TlsCurrRxSw"} {
		if got := after[name] - before[name]; got < 2 {
			t.Errorf("%s went up by %d: the kernel does not hold the two clients", name, got)
		}
	}
	if got := after["TlsDecryptError"] - before["TlsDecryptError"]; got != 0 {
		t.Errorf("%d decrypt errors", got)
	}
	m := s.metrics(t)
	if m.value("xderp_ktls_active") < 2 || m.sum("xderp_ktls_fallbacks_total") != 0 {
		t.Errorf("not all connections went to the kernel: %v active, %v fell back", m.value("xderp_ktls_active"), m.sum("xderp_ktls_fallbacks_total"))
	}
}

// Every suite of TLS 1.3 goes to the kernel; TLS 1.2 does not, and is counted.
func TestKTLSSuites(t *testing.T) {
	needKTLS(t)
	s := start(t, opts{mode: tlsName})
	b := s.client(t)
	for i, suite := range []string{"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"} {
		a := s.clientOpenSSL(t, "-tls1_3", "-ciphersuites", suite)
		if got := s.metrics(t).value("xderp_ktls_active"); got < float64(i+2) {
			t.Errorf("%s: %v connections are the kernel's", suite, got)
		}
		exchange(t, a, b, 100)
	}
	cfg := s.tlsConfig()
	cfg.MaxVersion = tls.VersionTLS12
	exchange(t, s.clientTLS(t, cfg), b, 100)
	if got := s.metrics(t).value(`xderp_ktls_fallbacks_total{reason="tls12"}`); got != 1 {
		t.Errorf("%v fallbacks for TLS 1.2, want 1", got)
	}
}

// All that a client may send before the server has answered, in every cut: records that were read behind the
// handshake, and records torn where the kernel takes over.
func TestKTLSTornRecords(t *testing.T) {
	needKTLS(t)
	s := start(t, opts{mode: tlsName})
	b := s.client(t)
	for _, cut := range []int{1, 2, 4, 5, 6, 20, 60, 100, 150, 200, 250, 300, 400, 500} {
		c := s.tcp(t)
		slow := &cutter{TCPConn: c, cut: cut}
		k := key.NewNode()
		r := newRaw(t, s, s.secure(t, slow, s.tlsConfig()))
		r.priv, r.pub = k, k.Public()
		// Request and login in one flight, and a packet behind it, which only login makes valid.
		slow.on = true
		r.write(append(append([]byte(upgradeHead("Derp-Fast-Start: 1")), clientInfo(k, s.pub, infoUsual)...),
			encode(fSendPacket, b.pub.AppendTo(nil), []byte("first"))...))
		slow.on = false
		b.wantPacket(k.Public(), []byte("first"))
		if err := r.greeting(true); err != nil {
			t.Fatalf("cut after %d: %v", cut, err)
		}
		if err := r.serverInfo(); err != nil {
			t.Fatalf("cut after %d: %v", cut, err)
		}
		exchange(t, r, b, 20)
		r.c.Close()
		b.wantGone(r.pub, goneDisconnected)
	}
	m := s.metrics(t)
	t.Logf("%v went to the kernel; %v did not", m.value("xderp_ktls_installs_total"), m.sum("xderp_ktls_fallbacks_total"))
	if m.value("xderp_ktls_installs_total") < 14 {
		t.Errorf("only %v connections went to the kernel", m.value("xderp_ktls_installs_total"))
	}
}

// cutter sends the first cut bytes of a write, lets the server read them, then the rest.
type cutter struct {
	*net.TCPConn
	cut int
	on  bool
}

func (c *cutter) Write(b []byte) (int, error) {
	if !c.on || len(b) <= c.cut {
		return c.TCPConn.Write(b)
	}
	n, err := c.TCPConn.Write(b[:c.cut])
	if err != nil {
		return n, err
	}
	time.Sleep(20 * time.Millisecond)
	m, err := c.TCPConn.Write(b[c.cut:])
	return n + m, err
}

// A thousand clients (-short: 300) come and go in order; nothing of them stays, neither here nor in the kernel.
func TestKTLSLeaksNothing(t *testing.T) {
	needKTLS(t)
	s := start(t, opts{mode: tlsName})
	s.pair(t).relays()
	round := func(n int) {
		for range n {
			r := s.client(t)
			r.sync()
			if err := r.c.(*tls.Conn).CloseWrite(); err != nil { // close_notify
				t.Fatal(err)
			}
			r.wantClosed()
			r.c.Close()
		}
		until(t, "the connections to end", func() bool { return s.metrics(t).value("derp_current_connections") == 2 })
	}
	round(100) // pools and tables have grown
	fds, kernel := s.descriptors(t), tlsStat(t)
	rss, _ := s.memory(t)
	n := 1000
	if testing.Short() {
		n = 300
	}
	round(n)
	m := s.metrics(t)
	rssAfter, _ := s.memory(t)
	t.Logf("%d connections: %+d KiB resident, %+d descriptors", n, rssAfter-rss, s.descriptors(t)-fds)
	if got := s.descriptors(t); got > fds+2 { // scrapes keep a connection for a while
		t.Errorf("%d descriptors, were %d", got, fds)
	}
	if rssAfter > rss+1024+2048 { // a huge page may come in whole
		t.Errorf("resident memory grew by %d KiB", rssAfter-rss)
	}
	if m.value("xderp_ktls_installs_total") < float64(100+n) || m.value("xderp_ktls_active") > 5 {
		t.Errorf("%v installs, %v active", m.value("xderp_ktls_installs_total"), m.value("xderp_ktls_active"))
	}
	until(t, "the kernel to forget them", func() bool {
		now := tlsStat(t)
		return now["TlsCurrTxSw"] <= kernel["TlsCurrTxSw"]+2 && now["TlsCurrRxSw"] <= kernel["TlsCurrRxSw"]+2
	})
}

// A client that changes its keys, on a kernel that can't follow (before 6.14), is sent away in order: what was queued
// for it arrives, then close_notify. Nobody else notices.
func TestKTLSKeyUpdate(t *testing.T) {
	needKTLS(t)
	s := start(t, opts{mode: tlsName})
	if s.feature(t, "ktls_rekey", "on") {
		t.Skip("this kernel can change keys: see TestTLSKeyUpdate")
	}
	p := s.pair(t)
	for i, command := range []string{"K\n", "k\n"} {
		c := s.openssl(t, "-brief", "-tls1_3")
		r := newRaw(t, s, c)
		if err := r.upgrade(); err != nil {
			t.Fatal(err)
		}
		k := key.NewNode()
		if err := r.login(k, infoUsual); err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, command)
		until(t, "openssl to take the command", func() bool { return strings.Contains(c.log.String(), "KEYUPDATE") })
		end := time.Now().Add(patience)
		for {
			if _, err := r.frameBy(end); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("want an orderly end, got %v", err)
			}
		}
		if log := c.log.String(); strings.Contains(log, "alert") || strings.Contains(log, "rror") || strings.Contains(log, "reset") {
			t.Errorf("openssl complains: %s", log)
		}
		until(t, "the close to be counted", func() bool {
			return s.metrics(t).value(`xderp_connections_closed_total{reason="ktls_rekey"}`) == float64(i+1)
		})
		p.relays()
	}
}
