// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
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

// probed is a region of two meshed nodes, as derpprobe wants it.
type probed struct {
	nodes [2]*server
	file  string // the DERP map
}

func startProbed(t *testing.T) *probed {
	t.Helper()
	p := &probed{}
	var list []string
	for i := range p.nodes {
		p.nodes[i] = newServer(t, opts{mode: tlsName, name: probeName, mesh: true})
		list = append(list, probeName+":"+portOf(p.nodes[i].addr)+"/127.0.0.1")
	}
	region := &tailcfg.DERPRegion{RegionID: 900, RegionCode: "test", RegionName: "test"}
	for i, s := range p.nodes {
		s.args = []string{"-mesh-with", strings.Join(list, ",")}
		s.mustRun(t)
		region.Nodes = append(region.Nodes, &tailcfg.DERPNode{
			Name: "900" + string(rune('a'+i)), RegionID: 900, HostName: probeName, IPv4: "127.0.0.1", // IPv6 left empty: "none" is probed and fails
			DERPPort: portNum(s.addr), STUNPort: portNum(s.stunAddr),
		})
	}
	connectAll(t, p.nodes[0].client(t), p.nodes[1].client(t)) // the mesh is there
	b, err := json.Marshal(tailcfg.DERPMap{Regions: map[int]*tailcfg.DERPRegion{900: region}})
	if err != nil {
		t.Fatal(err)
	}
	p.file = filepath.Join(p.nodes[0].dir, "derpmap.json")
	writeFile(t, p.file, string(b))
	return p
}

func (p *probed) derpprobe(t *testing.T, limit time.Duration, args ...string) *exec.Cmd {
	t.Helper()
	path := os.Getenv("XDERP_DERPPROBE")
	if path == "" {
		t.Skip("XDERP_DERPPROBE is not set")
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	return exec.CommandContext(ctx, path, append([]string{"-spread=false", "-derp-map=file://" + p.file,
		"-mesh-psk-file=" + p.nodes[0].dir + "/mesh.key"}, args...)...)
}

// once runs all probes once; bandwidth in every direction, for which its interval is also the time limit.
func (p *probed) once(t *testing.T, args ...string) {
	t.Helper()
	args = append(args, "-once", "-bw-interval=60s", "-bw-probe-size-bytes=2000000")
	out, err := p.derpprobe(t, 90*time.Second, args...).CombinedOutput()
	if err != nil { // relays may drop packets, and the prober does not send them again: a busy machine has a second try
		t.Logf("%v\n%s", err, out)
		out, err = p.derpprobe(t, 90*time.Second, args...).CombinedOutput()
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	want := []string{"900a/tls", "900a/udp", "900b/tls", "900b/udp"}
	for _, pair := range probePairs {
		want = append(want, pair+"/mesh", pair+"/bw")
	}
	for _, w := range want {
		if !strings.Contains(string(out), "good: derp/test/"+w+": ") {
			t.Errorf("probe %s is not among the good ones", w)
		}
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

var probePairs = []string{"900a/900a", "900a/900b", "900b/900a", "900b/900b"}

// Tailscale's prober is content with two meshed nodes: TLS, STUN, relaying and bandwidth, within each node and between them.
func TestDerpprobe(t *testing.T) {
	startProbed(t).once(t)
}

// The same with TCP inside, as a tailnet has it.
func TestDerpprobeTUN(t *testing.T) {
	needXderp(t, "TCP through its mesh stalls at times, and the probe gives up")
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err != nil {
		t.Skipf("no TUN device: %v", err)
	} else {
		f.Close()
	}
	if ownNetwork(t) {
		startProbed(t).once(t, "-bw-tun-ipv4-addr=10.99.3.1")
	}
}

// How long packets take, 100 a second in each direction, as the prober measures all the time: none is lost.
func TestDerpprobeDelay(t *testing.T) {
	needTime(t) // the prober begins some of its probes 10 s late, and takes a while to notice
	t.Parallel()
	p := startProbed(t)
	listen := hostPort("127.0.0.1", freePort())
	cmd := p.derpprobe(t, 4*patience, "-listen="+listen, "-qd-packets-per-second=100", "-mesh-interval=0", "-tls-interval=0", "-stun-interval=0")
	log := new(logBuffer)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s", log)
		}
	}()
	var v *varz
	untilWithin(t, 3*patience, "100 packets between each two nodes", func() bool {
		resp, err := http.Get("http://" + listen + "/debug/varz")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		if v, err = parseVarz(string(b)); err != nil {
			t.Fatal(err)
		}
		for _, pair := range probePairs {
			if v.sum("derpprobe_derp_qd_probe_delays_seconds_count", pair) < 100 {
				return false
			}
		}
		return true
	})
	if n := v.sum("derpprobe_derp_qd_probe_dropped_packets"); n != 0 {
		t.Errorf("%v packets lost", n)
	}
}
