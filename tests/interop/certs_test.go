// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// testCA is made once per run: a root, an intermediate, and leaves on demand.
var testCA = sync.OnceValue(func() *authority {
	a := &authority{}
	a.rootKey, a.root = makeCert("interop root", nil, nil, nil, true)
	a.midKey, a.mid = makeCert("interop intermediate", a.root, a.rootKey, nil, true)
	return a
})

type authority struct {
	root, mid       *x509.Certificate
	rootKey, midKey crypto.Signer
}

var (
	serial   int64 = 1000
	serialMu sync.Mutex
)

func makeCert(cn string, parent *x509.Certificate, parentKey crypto.Signer, k crypto.Signer, ca bool) (crypto.Signer, *x509.Certificate) {
	if k == nil {
		k, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	serialMu.Lock()
	serial++
	n := serial
	serialMu.Unlock()
	tmpl := &x509.Certificate{
		SerialNumber:          big.NewInt(n),
		Subject:               pkix.Name{CommonName: cn},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(60 * 24 * time.Hour),
		BasicConstraintsValid: true,
		IsCA:                  ca,
	}
	if ca {
		tmpl.KeyUsage = x509.KeyUsageCertSign
	} else {
		tmpl.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		tmpl.DNSNames = []string{cn}
	}
	if parent == nil {
		parent, parentKey = tmpl, k
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, k.Public(), parentKey)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return k, c
}

// writeServerCert puts NAME.crt (leaf, intermediate) and NAME.key into dir unless they are there.
func writeServerCert(dir, name string) {
	if _, err := os.Stat(filepath.Join(dir, name+".crt")); err == nil {
		return
	}
	writeLeaf(dir, name, nil)
}

func writeRSACert(dir, name string) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	writeLeaf(dir, name, k)
}

func writeLeaf(dir, name string, k crypto.Signer) {
	ca := testCA()
	k, leaf := makeCert(name, ca.mid, ca.midKey, k, false)
	kb, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		panic(err)
	}
	chain := append(pemBlock("CERTIFICATE", leaf.Raw), pemBlock("CERTIFICATE", ca.mid.Raw)...)
	// Written aside and moved, as certificate tools do, so that a server that watches sees whole files.
	for ext, b := range map[string][]byte{".key": pemBlock("PRIVATE KEY", kb), ".crt": chain} {
		f := filepath.Join(dir, name+ext)
		if err := os.WriteFile(f+".new", b, 0600); err != nil {
			panic(err)
		}
		if err := os.Rename(f+".new", f); err != nil {
			panic(err)
		}
	}
}

func pemBlock(kind string, b []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b})
}

func caPool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(testCA().root)
	return p
}

// tlsConfig is what a client of s uses: the test CA, or no check in tlsIP mode.
func (s *server) tlsConfig() *tls.Config {
	if s.mode == tlsIP {
		return &tls.Config{InsecureSkipVerify: true}
	}
	return &tls.Config{RootCAs: caPool(), ServerName: s.name}
}

func readCert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := pem.Decode(b)
	if p == nil {
		t.Fatalf("%s: no PEM block", name)
	}
	c, err := x509.ParseCertificate(p.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// rootFile is the test CA's root in a file, for programs that take SSL_CERT_FILE.
var rootFile = sync.OnceValue(func() string {
	f, err := os.CreateTemp("", "interop-root-*.pem")
	if err != nil {
		panic(err)
	}
	f.Write(pemBlock("CERTIFICATE", testCA().root.Raw))
	f.Close()
	rootFileMade = f.Name()
	return f.Name()
})

var rootFileMade string

func removeCA() {
	if rootFileMade != "" {
		os.Remove(rootFileMade)
	}
}
