// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"
)

// A client that sends faster than -rate-config allows is read no faster: nothing is lost, torn or reordered, it takes the time
// it must take at least, and nobody else is slowed down.
func TestRateConfig(t *testing.T) {
	needXderp(t, "only its HEAD has it")
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "rate.json")
			writeFile(t, file, `{"PerClientRateLimitBytesPerSec": 200000, "PerClientRateBurstBytes": 65568}`)
			s := start(t, opts{mode: m, mesh: true, control: true, args: []string{"-rate-config", file}})
			p := s.pair(t)
			a, b := s.client(t), s.client(t)
			const n, size = 400, 1000 // 1,032 bytes each counted
			begin := time.Now()
			errs := make(chan error, 1)
			go func() {
				for seq := range uint64(n) {
					a.c.SetWriteDeadline(time.Now().Add(patience))
					if _, err := a.c.Write(encode(fSendPacket, b.pub.AppendTo(nil), payload(1, seq, size))); err != nil {
						errs <- err
						return
					}
				}
				errs <- nil
			}()
			for seq := range uint64(n) {
				if _, p := splitPacket(b.want(fRecvPacket)); !bytes.Equal(p, payload(1, seq, size)) {
					t.Fatalf("packet %d: %x...; drops %v", seq, p[:16], s.drops(t))
				}
				if seq%50 == 0 {
					p.relays()
				}
			}
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
			// What a receive buffer holds is taken on credit, paid back before the next read.
			if took, least := time.Since(begin), time.Duration(n*1032-65568-2*32768)*time.Second/200000; took < least {
				t.Errorf("%d bytes took %v, want at least %v", n*1032, took, least)
			}
			if s.metrics(t).value("xderp_rate_waits_total") == 0 {
				t.Error("no wait was counted")
			}
			s.wantNoDrops(t)

			// A mesh client is exempt, and a reload changes the rate for those that are connected: a is in debt no more.
			k := s.meshClient(t)
			for seq := range uint64(1000) {
				k.sendTo(b.pub, payload(2, seq, size))
				b.wantPacket(k.pub, payload(2, seq, size))
			}
			writeFile(t, file, `{"PerClientRateLimitBytesPerSec": 0}`)
			s.reload(t)
			waits := s.metrics(t).value("xderp_rate_waits_total")
			for seq := range uint64(1000) {
				a.sendTo(b.pub, payload(3, seq, size))
				b.wantPacket(a.pub, payload(3, seq, size))
			}
			if got := s.metrics(t).value("xderp_rate_waits_total"); got > waits+1 {
				t.Errorf("%v more waits without a limit", got-waits)
			}
			s.conservation(t)
		})
	}
}

// A client that is not being read can still leave, be told things, and be found dead.
func TestRateHeldClientLeaves(t *testing.T) {
	needXderp(t, "only its HEAD has it")
	file := filepath.Join(t.TempDir(), "rate.json")
	writeFile(t, file, `{"PerClientRateLimitBytesPerSec": 1000, "PerClientRateBurstBytes": 1}`)
	s := start(t, opts{args: []string{"-rate-config", file}})
	a, b := s.client(t), s.client(t)
	a.sendTo(b.pub, make([]byte, 65536)) // the whole burst
	b.wantPacket(a.pub, make([]byte, 65536))
	a.sendTo(b.pub, make([]byte, 65536)) // minutes of debt
	until(t, "it to be held", func() bool { return s.metrics(t).value("xderp_rate_waits_total") > 0 })
	b.sendTo(a.pub, []byte("still served"))
	a.wantPacket(b.pub, []byte("still served"))
	a.c.Close()
	b.sendTo(a.pub, []byte("into the void"))
	until(t, "the connection to be found dead", func() bool {
		b.sendTo(a.pub, []byte("into the void"))
		return s.metrics(t).value("xderp_derp_conns") == 1
	})
}

// Frames that are skipped are no way around the limit.
func TestRateUnknownFrames(t *testing.T) {
	needXderp(t, "only its HEAD has it, and counts 65,568 bytes of each")
	file := filepath.Join(t.TempDir(), "rate.json")
	writeFile(t, file, `{"PerClientRateLimitBytesPerSec": 2000000}`)
	s := start(t, opts{mode: tlsName, args: []string{"-rate-config", file}})
	a := s.client(t)
	begin := time.Now()
	for range 4 {
		a.send(0x7f, make([]byte, 500000))
		a.sync()
	}
	// All but the last frame, whose Pong may come before its bytes are paid for.
	if took, least := time.Since(begin), 3*500000*time.Second/2000000-100*time.Millisecond; took < least {
		t.Errorf("took %v, want at least %v", took, least)
	}
	s.wantNoDrops(t)
}

// Mistakes in the file are named, at the start and at a reload, which then changes nothing.
func TestRateConfigFaults(t *testing.T) {
	needXderp(t, "only its HEAD has it")
	for _, c := range []struct{ text, says string }{
		{"", "line"},
		{"[]", "must hold an object"},
		{`{"PerClientRateLimitBytesPerSec": -1}`, "not negative"},
		{`{"PerClientRateLimitBytesPerSec": "fast"}`, "whole number"},
		{`{"PerClientRateBurst": 1}`, "perclientrateburstbytes"},
	} {
		file := filepath.Join(t.TempDir(), "rate.json")
		writeFile(t, file, c.text)
		wantNoStart(t, newServer(t, opts{args: []string{"-rate-config", file}}), c.says)
	}
	wantNoStart(t, newServer(t, opts{args: []string{"-rate-config", "/nowhere/rate.json"}}), "/nowhere/rate.json")
}
