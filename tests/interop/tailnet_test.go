// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tailscale.com/types/key"
)

const tailnetBytes = 50 << 20

// A tailnet: headscale, and nodes that run tailscaled. Each node sits in a network of its own whose only other machine is ours,
// with headscale and the relay. There is no route from node to node, so what passes between them passes the relay.
type tailnet struct {
	t        testing.TB
	bin, dir string
	control  string // port
	authKey  string
}

type tailnode struct {
	*tailnet
	*far   // nil: on the machine of the relay
	name   string
	socket string
	ip     netip.Addr
}

// daemon runs a program until the end of the test. Its log is shown if the test fails.
func (n *tailnet) daemon(f *far, name string, args ...string) {
	n.t.Helper()
	argv := append([]string{filepath.Join(n.bin, name)}, args...)
	if f != nil {
		argv = append([]string{"nsenter", "-t", f.pid, "-n"}, argv...)
	}
	log := new(logBuffer)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "HOME="+n.dir, "TS_NO_LOGS_NO_SUPPORT=true", "TS_DEBUG_ENABLE_PORTMAPPER=false")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if n.t.Failed() {
			n.t.Logf("%s:\n%s", strings.Join(argv, " "), log)
		}
	})
}

func (n *tailnet) headscale(args ...string) string {
	n.t.Helper()
	return mustRun(n.t, filepath.Join(n.bin, "headscale"), append([]string{"-c", filepath.Join(n.dir, "headscale.yaml")}, args...)...)
}

// newTailnet starts headscale with a DERP map that has one region with one node, the relay.
func newTailnet(t testing.TB, bin string, relay *server, relay4, relay6 string) *tailnet {
	t.Helper()
	n := &tailnet{t: t, bin: bin, dir: shortDir(t), control: freePort()}
	os.Chmod(n.dir, 0755) // the relay is nobody by then, and asks the socket of the tailscaled beside it
	derp := filepath.Join(n.dir, "derp.yaml")
	writeFile(t, derp, fmt.Sprintf(`regions:
  900:
    regionid: 900
    regioncode: test
    regionname: test
    nodes:
      - {name: 900a, regionid: 900, hostname: %s, ipv4: %s, ipv6: "%s", derpport: %s, stunport: %s}
`, relay.name, relay4, relay6, portOf(relay.addr), portOf(relay.stunAddr)))
	writeFile(t, filepath.Join(n.dir, "headscale.yaml"), fmt.Sprintf(`server_url: http://%[2]s:%[3]s
listen_addr: ":%[3]s"
metrics_listen_addr: ""
grpc_listen_addr: 127.0.0.1:0
noise: {private_key_path: %[1]s/noise.key}
prefixes: {v4: 100.64.0.0/10, v6: "fd7a:115c:a1e0::/48", allocation: sequential}
derp: {server: {enabled: false}, urls: [], paths: [%[4]s], auto_update_enabled: false}
disable_check_updates: true
database: {type: sqlite, sqlite: {path: %[1]s/db.sqlite}}
dns: {magic_dns: false, base_domain: tailnet.test, override_local_dns: false}
unix_socket: %[1]s/headscale.sock
log: {level: warn}
`, n.dir, relay4, n.control, derp))
	n.daemon(nil, "headscale", "-c", filepath.Join(n.dir, "headscale.yaml"), "serve")
	until(t, "headscale", func() bool {
		c, err := net.Dial("unix", n.dir+"/headscale.sock")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	n.headscale("users", "create", "somebody")
	var k struct{ Key string }
	if err := json.Unmarshal([]byte(n.headscale("preauthkeys", "create", "-u", "1", "--reusable", "-o", "json")), &k); err != nil {
		t.Fatal(err)
	}
	n.authKey = k.Key
	return n
}

// node adds a node at f, which reaches headscale at an address of ours.
func (n *tailnet) node(f *far, name, control string) *tailnode {
	n.t.Helper()
	v := &tailnode{tailnet: n, far: f, name: name, socket: filepath.Join(n.dir, name+".sock")}
	n.daemon(f, "tailscaled", "--tun=userspace-networking", "--state=mem:", "--statedir="+n.dir, "--socket="+v.socket, "--port=0")
	until(n.t, name+"'s tailscaled", func() bool {
		c, err := net.Dial("unix", v.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	v.tailscale("up", "--login-server=http://"+net.JoinHostPort(control, n.control), "--authkey="+n.authKey, "--hostname="+name,
		"--accept-dns=false", "--timeout=60s")
	v.ip = netip.MustParseAddr(strings.TrimSpace(v.tailscale("ip", "-4")))
	return v
}

func (v *tailnode) command(args ...string) *exec.Cmd {
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	v.tailnet.t.Cleanup(cancel)
	return exec.CommandContext(ctx, filepath.Join(v.bin, "tailscale"), append([]string{"--socket=" + v.socket}, args...)...)
}

func (v *tailnode) tailscale(args ...string) string {
	v.tailnet.t.Helper()
	out, err := v.command(args...).CombinedOutput()
	if err != nil {
		v.tailnet.t.Fatalf("%s: tailscale %s: %v\n%s", v.name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// hashes answers whoever connects to port 5000 of the node with the SHA-256 of what came.
func (v *tailnode) hashes() {
	v.tailnet.t.Helper()
	var l net.Listener
	var err error
	v.do(func() { l, err = net.Listen("tcp", "127.0.0.1:5000") }) // tailscaled passes it on to this address
	if err != nil {
		v.tailnet.t.Fatal(err)
	}
	v.tailnet.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				h := sha256.New()
				n, _ := io.CopyN(h, c, tailnetBytes)
				fmt.Fprintf(c, "%d %x", n, h.Sum(nil))
			}()
		}
	}()
}

// ping is what tailscale ping says, for so many pings.
func (v *tailnode) ping(to *tailnode, n int, patience time.Duration) (said string, ok bool) {
	out, err := v.command("ping", "--until-direct=false", fmt.Sprintf("-c=%d", n), "--timeout="+patience.String(), to.ip.String()).CombinedOutput()
	return string(out), err == nil && strings.Count(string(out), "via DERP(test) in ") == n
}

// await waits until both know each other: headscale tells them when it likes.
func (v *tailnode) await(to *tailnode) {
	v.tailnet.t.Helper()
	untilWithin(v.tailnet.t, 3*patience, v.name+" to reach "+to.name, func() bool {
		_, ok := v.ping(to, 1, time.Second)
		return ok
	})
}

// reach is a ping and a large transfer.
func (v *tailnode) reach(to *tailnode) {
	t := v.tailnet.t
	t.Helper()
	if said, ok := v.ping(to, 3, patience); !ok {
		t.Errorf("not every ping passed the relay:\n%s", said)
	}
	data := make([]byte, tailnetBytes)
	rand.NewChaCha8([32]byte{1}).Read(data)
	sum := sha256.Sum256(data)
	cmd := v.command("nc", to.ip.String(), "5000")
	stdin, err := cmd.StdinPipe() // nc ends when its input does, and would not wait for the answer
	if err != nil {
		t.Fatal(err)
	}
	go stdin.Write(data)
	begin := time.Now()
	out, err := cmd.Output()
	if want := fmt.Sprintf("%d %s", tailnetBytes, hex.EncodeToString(sum[:])); err != nil || string(out) != want {
		t.Errorf("%s to %s: %v, said %q, want %q", v.name, to.name, err, out, want)
	}
	t.Logf("%s to %s: %d bytes in %.1f s", v.name, to.name, tailnetBytes, time.Since(begin).Seconds())
}

// relayed is whether the node's view of the other one is: by the relay, no direct path.
func (v *tailnode) relayed(to *tailnode) {
	t := v.tailnet.t
	t.Helper()
	var st struct {
		Peer map[string]struct{ HostName, CurAddr, Relay string }
	}
	if err := json.Unmarshal([]byte(v.tailscale("status", "--json")), &st); err != nil {
		t.Fatal(err)
	}
	for _, p := range st.Peer {
		if p.HostName == to.name && (p.CurAddr != "" || p.Relay != "test") {
			t.Errorf("%s sees %+v", v.name, p)
		}
	}
}

// The stock daemon, not its packages: two nodes that can't reach each other talk through the relay, which asks headscale and
// the tailscaled beside it about every key.
func TestTailnet(t *testing.T) {
	bin := os.Getenv("XDERP_TAILNET")
	if bin == "" {
		t.Skip("XDERP_TAILNET is not set")
	}
	if !ownNetwork(t) {
		return
	}
	const relay4, relay6 = "10.99.1.1", "fd00:99:2::1"
	a, b := newNetwork(t), newNetwork(t)
	ip(t, "link", "add", "node4", "type", "veth", "peer", "name", "far", "netns", a.pid)
	ip(t, "link", "add", "node6", "type", "veth", "peer", "name", "far", "netns", b.pid)
	ip(t, "addr", "add", relay4+"/24", "dev", "node4")
	ip(t, "addr", "add", relay6+"/64", "dev", "node6", "nodad")
	ip(t, "link", "set", "node4", "up")
	ip(t, "link", "set", "node6", "up")
	a.ip("addr", "add", "10.99.1.2/24", "dev", "far")
	b.ip("addr", "add", "fd00:99:2::2/64", "dev", "far", "nodad")
	a.ip("link", "set", "far", "up")
	b.ip("link", "set", "far", "up")

	s := newServer(t, opts{mode: tlsName, host: wildcard})
	net := newTailnet(t, bin, s, relay4, relay6)
	s.args = []string{"-verify-client-url=http://" + relay4 + ":" + net.control + "/verify", "-verify-client-url-fail-open=false",
		"-verify-clients", "-socket=" + net.dir + "/relay.sock"}
	s.mustRun(t)
	net.node(nil, "relay", relay4)
	na, nb := net.node(a, "node4", relay4), net.node(b, "node6", relay6)
	nb.hashes()
	na.hashes()
	na.await(nb)
	nb.await(na)
	before := s.varz(t)
	na.reach(nb)
	nb.reach(na)
	na.relayed(nb)
	nb.relayed(na)

	after := s.varz(t)
	for _, m := range []string{"derp_bytes_received", "derp_bytes_sent"} {
		if n := after.value(m) - before.value(m); n < 2*tailnetBytes {
			t.Errorf("%s: %v bytes, transferred %d", m, n, 2*tailnetBytes)
		}
	}
	if after.value("derp_clients_local") != 3 {
		t.Errorf("%v nodes are here", after.value("derp_clients_local"))
	}
	t.Logf("the relay passed on %.0f bytes, dropped %.0f packets", after.value("derp_bytes_sent")-before.value("derp_bytes_sent"),
		after.sum("derp_packets_dropped"))
	if s.tryLogin(t, key.NewNode(), infoUsual) {
		t.Error("a key that is not of this tailnet may log in")
	}
}
