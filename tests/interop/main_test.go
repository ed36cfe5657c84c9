// SPDX-License-Identifier: BSD-3-Clause

// Package interop drives a DERP relay from outside: Tailscale's own client packages where they
// behave, a raw client where frames must be wrong. The same tests run against Tailscale's derper,
// which proves that they test derper's behaviour and not an opinion about it.
//
//	XDERP_SERVER=/path/to/xderpd XDERP_KIND=xderp  go test -count=1 ./...
//	XDERP_SERVER=/path/to/derper XDERP_KIND=derper go test -count=1 ./...
//
// Settings, all by environment:
//
//	XDERP_ARGS       flags added to every start, e.g. "--shards=2 --io=epoll"
//	XDERP_PACKETS    packets per direction in the exchange tests (3000)
//	XDERP_IDLE       idle clients held at once (500)
//	XDERP_DERPPROBE  path of derpprobe v1.96.4; its test is skipped without
//	XDERP_TAILNET    directory of tailscaled, tailscale and headscale; its test is skipped without
//	XDERP_PEBBLE     path of pebble, an ACME CA; tests of ACME are skipped without
//	XDERP_BROWSER    path of a headless Chromium; its test is skipped without
//	XDERP_NETEM      loopback may be disturbed with netem, nobody else needs it
//	XDERP_HANDOVERS  changes of hands of a stream in the splice's test (30)
//	XDERP_CHURN      clients that come and go there (100)
//	XDERP_GONE       clients there whose end is told to one that is served by the kernel at full speed (30; at most 8,000)
//	XDERP_UNREAD     clients there that are closed with bytes unread (20)
//	XDERP_KILLS      relays there that are killed while packets flow (2)
//	XDERP_ORPHAN_SECONDS  how long a spliced pair is watched without a relay (1)
//	XDERP_KEEP       keep the servers' files and print where they are
//
// -short leaves out what waits for the relay's own long timers (10 to 65 s). Servers run on
// 127.0.0.1 and ::1 only and are stopped by the test that started them.
package interop

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that must happen. It is long because the machine may be
// busy, and costs nothing when the thing happens.
const patience = 20 * time.Second

var (
	serverPath = os.Getenv("XDERP_SERVER")
	serverKind = os.Getenv("XDERP_KIND")
	serverArgs = strings.Fields(os.Getenv("XDERP_ARGS"))
)

func TestMain(m *testing.M) {
	flag.Parse()
	if serverPath == "" || (serverKind != "xderp" && serverKind != "derper") {
		fmt.Fprintln(os.Stderr, "interop: skipped: set XDERP_SERVER=path and XDERP_KIND=xderp|derper")
		os.Exit(0)
	}
	// Parallel tests here wait for timers and use no CPU: let them all wait at once.
	flag.Set("test.parallel", "64")
	raiseFileLimit()
	os.Setenv("SSL_CERT_FILE", rootFile()) // Tailscale's clients ask the system's roots
	code := m.Run()
	removeCA()
	os.Exit(code)
}

// needXderp skips a test that derper cannot pass, and says why.
func needXderp(t testing.TB, why string) {
	t.Helper()
	if serverKind != "xderp" {
		t.Skip("derper cannot: " + why)
	}
}

func isXderp() bool { return serverKind == "xderp" }

// needTime skips a test when -short is given: it takes long, above all to wait for timers, and shows the same in every variant of the relay.
func needTime(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long")
	}
}

func envInt(name string, def int) int {
	if v, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return v
	}
	return def
}

func raiseFileLimit() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil {
		l.Cur = l.Max
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
	}
}

// until polls cond until it is true or patience ends.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	untilWithin(t, patience, what, cond)
}

func untilWithin(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for: %s", limit, what)
		}
	}
}
