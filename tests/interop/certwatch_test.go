// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serves is the serial number of the certificate that a new connection gets.
func (s *server) serves(t testing.TB) string {
	t.Helper()
	c := s.conn(t).(*tls.Conn)
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func (s *server) crt() string { return filepath.Join(s.dir, s.name+".crt") }
func (s *server) key() string { return filepath.Join(s.dir, s.name+".key") }

// fastPoll makes the relay look at its certificate's files often enough for tests.
var fastPoll = []string{"--cert-poll=50ms"}

// A thousand clients are connected and exchange packets while the certificate changes, by renaming and by writing over: new
// clients get the new one, nobody is lost.
func TestCertificateRotation(t *testing.T) {
	needXderp(t, "it reads its certificate once")
	s := start(t, opts{mode: tlsName, args: fastPoll})
	all := make([]*raw, envInt("XDERP_ROTATION", 1000))
	for i := range all {
		all[i] = s.client(t)
	}
	var stop atomic.Bool
	var meanwhile atomic.Int64
	var pairs sync.WaitGroup
	for i := range 4 {
		a, b := all[2*i], all[2*i+1]
		pairs.Go(func() {
			for !stop.Load() && !t.Failed() {
				deliver(a, b)
				deliver(b, a)
				meanwhile.Add(2)
			}
		})
	}
	before := meanwhile.Load()
	for _, replace := range []func(){
		func() { writeLeaf(s.dir, s.name, nil) },
		func() { // another directory's pair, written over ours as cp does it
			dir := t.TempDir()
			writeLeaf(dir, s.name, nil)
			for _, f := range []string{s.key(), s.crt()} {
				b, err := os.ReadFile(filepath.Join(dir, filepath.Base(f)))
				if err != nil {
					t.Error(err)
				}
				writeFile(t, f, string(b))
			}
		},
		func() { writeRSACert(s.dir, s.name) },
	} {
		old := s.serves(t)
		replace()
		want := readCert(t, s.crt()).SerialNumber.String()
		until(t, "new clients to get the new certificate", func() bool { return s.serves(t) != old })
		if got := s.serves(t); got != want {
			t.Errorf("serial %s, want %s", got, want)
		}
	}
	until(t, "packets to be delivered meanwhile", func() bool { return meanwhile.Load() > before || t.Failed() })
	stop.Store(true)
	pairs.Wait()
	for i, r := range all {
		r.sendTo(all[(i+1)%len(all)].pub, []byte("still here"))
	}
	for i, r := range all {
		r.wantPacket(all[(i+len(all)-1)%len(all)].pub, []byte("still here"))
	}
	m := s.metrics(t)
	// On a busy machine a pair may be seen half, which costs one more.
	if taken := m.value(`xderp_certificate_changes_total{outcome="taken"}`); taken < 3 {
		t.Errorf("%v changes taken, want 3", taken)
	}
	if end := m.value("xderp_certificate_not_after_seconds"); end != float64(readCert(t, s.crt()).NotAfter.Unix()) {
		t.Errorf("the certificate ends at %v", end)
	}
}

// replaceFile changes a file in one step. Writing it over can be two: truncating sets ext4's times before and after it waits for the disk.
func replaceFile(t testing.TB, name, text string) {
	t.Helper()
	writeFile(t, name+".new", text)
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// What can't be used is said once and changes nothing.
func TestCertificateKept(t *testing.T) {
	needXderp(t, "it reads its certificate once")
	s := start(t, opts{mode: tlsName, args: fastPoll})
	a, b := s.client(t), s.client(t)
	serial := s.serves(t)
	good := map[string]string{}
	for _, f := range []string{s.crt(), s.key()} {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		good[f] = string(text)
	}
	other := t.TempDir()
	writeLeaf(other, s.name, nil)
	otherKey, _ := os.ReadFile(filepath.Join(other, s.name+".key"))
	p, _ := pem.Decode([]byte(good[s.key()]))
	k, err := x509.ParsePKCS8PrivateKey(p.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	writeLeaf(other, "elsewhere.example.test", k.(crypto.Signer))
	wrongName, _ := os.ReadFile(filepath.Join(other, "elsewhere.example.test.crt"))
	refused := 0
	for _, c := range []struct {
		name, file, text, say string
	}{
		{"key of another certificate", s.key(), string(otherKey), "does not belong to the certificate beside it"},
		{"torn certificate", s.crt(), good[s.crt()][:len(good[s.crt()])/3], "is no PEM file"},
		{"empty key", s.key(), "", "is no PEM private key"},
		{"another name", s.crt(), string(wrongName), "is not valid for " + s.name},
		{"gone", s.crt(), "-", "can't read"},
	} {
		refused++
		if c.text == "-" {
			os.Remove(c.file)
		} else {
			replaceFile(t, c.file, c.text)
		}
		until(t, c.name+" to be noticed", func() bool {
			return s.metrics(t).value(`xderp_certificate_changes_total{outcome="refused"}`) == float64(refused)
		})
		time.Sleep(150 * time.Millisecond) // three looks more, which say nothing
		if log := s.log.String(); strings.Count(log, "event=certificate_kept") != refused || !strings.Contains(log, c.say) {
			t.Errorf("%s: want %q in %d complaints:\n%s", c.name, c.say, refused, log)
		}
		if got := s.serves(t); got != serial {
			t.Errorf("%s: serial %s, want %s", c.name, got, serial)
		}
		deliver(a, b)
		// Back to what it was, which is a change, too.
		replaceFile(t, c.file, good[c.file])
		until(t, "the good pair to be taken", func() bool {
			return s.metrics(t).value(`xderp_certificate_changes_total{outcome="taken"}`) == float64(refused)
		})
	}
	deliver(s.client(t), s.client(t))
}
