// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tailscale.com/tailcfg"
)

// derpprobe needs a name that resolves to the relay. localhost is one, everywhere.
const probeName = "localhost"

func probeMap(t testing.TB, s *server, dir string) string {
	t.Helper()
	node := &tailcfg.DERPNode{
		Name: "900a", RegionID: 900, HostName: probeName, IPv4: "127.0.0.1", // IPv6 left empty: "none" is probed and fails
		DERPPort: portNum(s.addr), STUNPort: portNum(s.stunAddr),
	}
	b, err := json.Marshal(tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{
		900: {RegionID: 900, RegionCode: "test", RegionName: "test", Nodes: []*tailcfg.DERPNode{node}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(dir, "derpmap.json")
	writeFile(t, f, string(b))
	return f
}

// Tailscale's prober is content: TLS, STUN, relaying and bandwidth.
func TestDerpprobe(t *testing.T) {
	probe := os.Getenv("XDERP_DERPPROBE")
	if probe == "" {
		t.Skip("XDERP_DERPPROBE is not set")
	}
	s := start(t, opts{mode: tlsName, name: probeName, mesh: true})
	f := probeMap(t, s, s.dir)
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, probe, "-once", "-spread=false", "-derp-map=file://"+f, "-mesh-psk-file="+s.dir+"/mesh.key",
		"-bw-interval=1s", "-bw-probe-size-bytes=5000000")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+rootFile())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for _, p := range []string{"tls", "udp", "900a/mesh", "900a/bw"} {
		if !strings.Contains(string(out), "good: derp/test/900a/"+p) {
			t.Errorf("probe %s is not among the good ones", p)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}
