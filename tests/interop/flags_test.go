// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// derperFlags are all flags of derper v1.96.4 and of its development branch, with a value that is not the default. refused:
// part of the sentence that xderpd says instead of starting; "" means that it takes it.
var derperFlags = []struct {
	name, value string
	head        bool // not in v1.96.4
	refused     string
}{
	{name: "a", value: "127.0.0.1:8443"},
	{name: "http-port", value: "8080"},
	{name: "stun", value: "false"},
	{name: "stun-port", value: "3479"},
	{name: "c", value: "KEY"},
	{name: "certmode", value: "manual"},
	{name: "certmode", value: "letsencrypt"},
	{name: "certmode", value: "gcp", refused: "XDERP_ACME_CA"},
	{name: "certdir", value: "/certs"},
	{name: "hostname", value: "derp.example.org"},
	{name: "acme-eab-kid", value: "kid", refused: "EAB_KID"},
	{name: "acme-eab-key", value: "key", refused: "EAB_HMAC_KEY"},
	{name: "acme-email", value: "a@example.org"},
	{name: "acme-ip-certs", value: "true", head: true, refused: "use -certmode manual with an IP address as -hostname"},
	{name: "derp", value: "false"},
	{name: "home", value: "blank"},
	{name: "mesh-psk-file", value: "/psk"},
	{name: "mesh-with", value: "a,b"},
	{name: "secrets-url", value: "https://setec", refused: "use -mesh-psk-file"},
	{name: "secrets-path-prefix", value: "x"},
	{name: "secrets-cache-dir", value: "/x"},
	{name: "bootstrap-dns-names", value: "a.example"},
	{name: "unpublished-bootstrap-dns-names", value: "a.example/b.example"},
	{name: "verify-clients", value: "true"},
	{name: "socket", value: "/socket"},
	{name: "verify-client-url", value: "http://127.0.0.1/"},
	{name: "verify-client-url-fail-open", value: "false"},
	{name: "accept-connection-limit", value: "10"},
	{name: "accept-connection-burst", value: "20"},
	{name: "rate-config", value: "RATE", head: true},
	{name: "tcp-keepalive-time", value: "1m"},
	{name: "tcp-user-timeout", value: "9s"},
	{name: "tcp-write-timeout", value: "3s"},
	{name: "dev", value: "true"},
	{name: "ace", value: "true", refused: "internal to Tailscale"},
	{name: "version", value: "true"},
}

// Every flag of derper is taken, or refused with a sentence that names it; and those of the derper that is here are all in
// the table.
func TestDerperFlags(t *testing.T) {
	needXderp(t, "it is the one that is compared with")
	dir := t.TempDir()
	rate := filepath.Join(dir, "rate.json")
	writeFile(t, rate, `{"PerClientRateLimitBytesPerSec":1000000,"PerClientRateBurstBytes":2000000}`)
	var names []string
	for _, f := range derperFlags {
		names = append(names, f.name)
		t.Run(f.name+"="+f.value, func(t *testing.T) {
			value := strings.NewReplacer("KEY", filepath.Join(dir, "key"), "RATE", rate).Replace(f.value)
			cmd := exec.CommandContext(within(t), serverPath, "-c", filepath.Join(dir, "key"), "-a", ":443", "-hostname", "derp.example.org",
				"-"+f.name+"="+value, "--check-config")
			cmd.Env = append(os.Environ(), "HOME="+dir)
			out, err := cmd.CombinedOutput()
			switch code := cmd.ProcessState.ExitCode(); {
			case f.refused == "" && code != 0:
				t.Errorf("%v: %s", err, out)
			case f.refused != "" && (code != 2 || !strings.Contains(string(out), f.name) || !strings.Contains(string(out), f.refused)):
				t.Errorf("exit %d, want 2, %q and %q: %s", code, f.name, f.refused, out)
			}
		})
	}
	derper := os.Getenv("XDERP_DERPER")
	if derper == "" {
		t.Skip("XDERP_DERPER is not set")
	}
	out, _ := exec.Command(derper, "-help").CombinedOutput()
	found := regexp.MustCompile(`(?m)^  -(\S+)`).FindAllSubmatch(out, -1)
	if len(found) < 20 {
		t.Fatalf("no flags: %s", out)
	}
	var has []string
	for _, m := range found {
		has = append(has, string(m[1]))
		if !slices.Contains(names, string(m[1])) {
			t.Errorf("derper has a flag that is not in the table: %s", m[1])
		}
	}
	for _, f := range derperFlags {
		if slices.Contains(has, f.name) == f.head {
			t.Errorf("%s: in derper's help: %v", f.name, !f.head)
		}
	}
}
