// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"tailscale.com/types/key"
)

// handshake tries a TLS handshake; alert is the number of a fatal alert the server sent, or -1.
func (s *server) handshake(t testing.TB, cfg *tls.Config) (cs tls.ConnectionState, alert int, err error) {
	t.Helper()
	tc := tls.Client(s.tcp(t), cfg)
	defer tc.Close()
	tc.SetDeadline(time.Now().Add(patience))
	err = tc.Handshake()
	if err == nil {
		// In TLS 1.3 the client is done before the server has judged it.
		_, err = io.WriteString(tc, request("GET", "/derp/probe"))
		if err == nil {
			_, err = tc.Read(make([]byte, 1))
		}
	}
	return tc.ConnectionState(), alertOf(err), err
}

// tryTLS is secure that may fail.
func (s *server) tryTLS(c net.Conn) (net.Conn, error) {
	tc := tls.Client(c, s.tlsConfig())
	tc.SetDeadline(time.Now().Add(patience))
	err := tc.Handshake()
	tc.SetDeadline(time.Time{})
	return tc, err
}

// alertOf digs the alert number out of crypto/tls's error for an alert of the other side.
func alertOf(err error) int {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return -1
	}
	for n := range 256 {
		if op.Err.Error() == tls.AlertError(n).Error() {
			return n
		}
	}
	return -1
}

func TestTLSServerName(t *testing.T) {
	name := start(t, opts{mode: tlsName})
	ip := start(t, opts{mode: tlsIP})
	for _, c := range []struct {
		what  string
		s     *server
		sni   string
		alert int // -1: accepted
	}{
		{"right name", name, testName, -1},
		{"upper case", name, strings.ToUpper(testName), 80},
		{"wrong name", name, "other.example.test", 80},
		{"subdomain", name, "x." + testName, 80},
		{"no name", name, "", 80},
		{"IP server, no name", ip, "", -1},
		{"IP server, some name", ip, "some.example.test", -1},
	} {
		t.Run(c.what, func(t *testing.T) {
			if isXderp() && c.what == "upper case" {
				t.Skip("names compare without case, RFC 6066 section 3; derper compares them exactly")
			}
			for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				_, alert, err := c.s.handshake(t, &tls.Config{InsecureSkipVerify: true, ServerName: c.sni, MinVersion: v, MaxVersion: v})
				if alert != c.alert || (c.alert == -1) != (err == nil) {
					t.Errorf("TLS %#x: alert %d (%v), want %d", v, alert, err, c.alert)
				}
			}
		})
	}
	name.client(t).sync()
}

func TestTLSVersions(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	for _, c := range []struct {
		min, max uint16
		want     uint16
	}{
		{tls.VersionTLS10, tls.VersionTLS11, 0},
		{tls.VersionTLS10, tls.VersionTLS10, 0},
		{tls.VersionTLS10, tls.VersionTLS12, tls.VersionTLS12},
		{tls.VersionTLS12, tls.VersionTLS12, tls.VersionTLS12},
		{tls.VersionTLS12, tls.VersionTLS13, tls.VersionTLS13},
		{tls.VersionTLS13, tls.VersionTLS13, tls.VersionTLS13},
	} {
		cfg := s.tlsConfig()
		cfg.MinVersion, cfg.MaxVersion = c.min, c.max
		cs, alert, err := s.handshake(t, cfg)
		if c.want == 0 {
			if alert != 70 {
				t.Errorf("%#x..%#x: alert %d (%v), want 70", c.min, c.max, alert, err)
			}
		} else if err != nil || cs.Version != c.want {
			t.Errorf("%#x..%#x: %#x %v, want %#x", c.min, c.max, cs.Version, err, c.want)
		}
	}
}

func TestTLSALPN(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	for _, c := range []struct {
		offer []string
		want  string
	}{{nil, ""}, {[]string{"http/1.1"}, "http/1.1"}, {[]string{"h2", "http/1.1"}, "http/1.1"}} {
		cfg := s.tlsConfig()
		cfg.NextProtos = c.offer
		cs, _, err := s.handshake(t, cfg)
		if err != nil || cs.NegotiatedProtocol != c.want {
			t.Errorf("%v: %q %v", c.offer, cs.NegotiatedProtocol, err)
		}
	}
}

// Each AEAD suite of TLS 1.2 and each curve carries a conversation.
func TestTLSSuites12(t *testing.T) {
	for _, rsa := range []bool{false, true} {
		o := opts{mode: tlsName, dir: t.TempDir()}
		if rsa {
			writeRSACert(o.dir, testName)
		}
		s := start(t, o)
		for _, id := range aeadSuites(rsa) {
			t.Run(tls.CipherSuiteName(id), func(t *testing.T) {
				cfg := s.tlsConfig()
				cfg.MaxVersion = tls.VersionTLS12
				cfg.CipherSuites = []uint16{id}
				a, b := s.clientTLS(t, cfg), s.clientTLS(t, cfg)
				if got := a.c.(*tls.Conn).ConnectionState().CipherSuite; got != id {
					t.Fatalf("negotiated %s", tls.CipherSuiteName(got))
				}
				exchange(t, a, b, 200)
			})
		}
	}
}

func aeadSuites(rsa bool) []uint16 {
	if rsa {
		return []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256}
	}
	return []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}
}

func (s *server) clientTLS(t testing.TB, cfg *tls.Config) *raw {
	t.Helper()
	r := newRaw(t, s, s.secure(t, s.tcp(t), cfg.Clone()))
	if err := r.upgrade(); err != nil {
		t.Fatal(err)
	}
	if err := r.login(key.NewNode(), infoUsual); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTLSCurves(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	for _, c := range []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384} {
		cfg := s.tlsConfig()
		cfg.CurvePreferences = []tls.CurveID{c}
		s.clientTLS(t, cfg).sync()
	}
	// A hello of about 1.7 kB with a share the server may not know is no reason to fail.
	cfg := s.tlsConfig()
	cfg.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768, tls.X25519}
	s.clientTLS(t, cfg).sync()
}

func TestTLSNoCBC(t *testing.T) {
	needXderp(t, "it accepts CBC suites in TLS 1.2")
	for _, rsa := range []bool{false, true} {
		o := opts{mode: tlsName, dir: t.TempDir()}
		if rsa {
			writeRSACert(o.dir, testName)
		}
		s := start(t, o)
		all := append(tls.CipherSuites(), tls.InsecureCipherSuites()...)
		for _, suite := range all {
			if slices.Contains(aeadSuites(rsa), suite.ID) || !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
				continue
			}
			cfg := s.tlsConfig()
			cfg.MaxVersion = tls.VersionTLS12
			cfg.CipherSuites = []uint16{suite.ID}
			if _, _, err := s.handshake(t, cfg); err == nil {
				t.Errorf("accepted %s", suite.Name)
			}
		}
	}
}

func TestMetaCertificate(t *testing.T) {
	for _, m := range []mode{tlsName, tlsIP} {
		for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			s := start(t, opts{mode: m})
			cfg := s.tlsConfig()
			cfg.MaxVersion = v
			var first []byte
			for range 3 { // the same in every handshake of a process
				cs, _, err := s.handshake(t, cfg)
				if err != nil {
					t.Fatal(err)
				}
				want := 3 // leaf, intermediate, meta
				if m == tlsIP {
					want = 2
				}
				if len(cs.PeerCertificates) != want {
					t.Fatalf("%v: %d certificates, want %d", m, len(cs.PeerCertificates), want)
				}
				for _, c := range cs.PeerCertificates[:want-1] {
					if strings.HasPrefix(c.Subject.CommonName, "derpkey") {
						t.Error("meta certificate is not last")
					}
				}
				meta := cs.PeerCertificates[want-1]
				checkMeta(t, s, meta)
				if first == nil {
					first = meta.Raw
				} else if string(first) != string(meta.Raw) {
					t.Error("meta certificate changes between handshakes")
				}
			}
		}
	}
}

func checkMeta(t testing.TB, s *server, c *x509.Certificate) {
	t.Helper()
	cn := "derpkey" + s.pub.UntypedHexString()
	if c.Version != 3 || c.SerialNumber.Int64() != 2 || c.Subject.CommonName != cn {
		t.Errorf("version %d serial %v subject %q", c.Version, c.SerialNumber, c.Subject)
	}
	if len(c.Subject.Names) != 1 || string(c.RawSubject) != string(c.RawIssuer) {
		t.Errorf("subject %q issuer %q", c.Subject, c.Issuer)
	}
	// SEQUENCE { SET { SEQUENCE { OID, PrintableString } } } and nothing else
	if i := strings.Index(string(c.RawSubject), cn); i < 2 || c.RawSubject[i-2] != asn1.TagPrintableString {
		t.Errorf("CN is not a PrintableString: %x", c.RawSubject)
	}
	if len(c.Extensions) != 1 || !c.Extensions[0].Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 19}) || !c.Extensions[0].Critical ||
		string(c.Extensions[0].Value) != "\x30\x00" {
		t.Errorf("extensions %v", c.Extensions)
	}
	if c.IsCA || len(c.SubjectKeyId) != 0 || len(c.AuthorityKeyId) != 0 {
		t.Errorf("CA %v, key ids %x %x", c.IsCA, c.SubjectKeyId, c.AuthorityKeyId)
	}
	pub, ok := c.PublicKey.(ed25519.PublicKey)
	if !ok || !ed25519.Verify(pub, c.RawTBSCertificate, c.Signature) {
		t.Error("not signed with its own Ed25519 key")
	}
	const month = 30 * 24 * time.Hour
	if d := time.Since(c.NotBefore) - month; d < -time.Minute || d > 10*time.Minute {
		t.Errorf("NotBefore %v", c.NotBefore)
	}
	if d := time.Until(c.NotAfter) - month; d > time.Minute || d < -10*time.Minute {
		t.Errorf("NotAfter %v", c.NotAfter)
	}
	if len(c.Raw) != 359 {
		t.Errorf("%d bytes, want 359", len(c.Raw))
	}
}

// The self-signed certificate of IP mode is what the log line tells operators to configure.
func TestSelfSignedCertificate(t *testing.T) {
	s := start(t, opts{mode: tlsIP})
	c := readCert(t, s.dir+"/127.0.0.1.crt")
	if len(c.IPAddresses) != 1 || c.IPAddresses[0].String() != "127.0.0.1" || c.Subject.CommonName != "127.0.0.1" {
		t.Errorf("names %v %v", c.Subject, c.IPAddresses)
	}
	if c.CheckSignatureFrom(c) != nil && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) != nil {
		t.Error("not self-signed")
	}
	if left := time.Until(c.NotAfter); left < 360*24*time.Hour || left > 370*24*time.Hour {
		t.Errorf("valid for %v", left)
	}
	until(t, "the CertName line in the log", func() bool { return strings.Contains(s.log.String(), s.certHash(t)) })
	cs, _, err := s.handshake(t, s.tlsConfig())
	if err != nil || string(cs.PeerCertificates[0].Raw) != string(c.Raw) {
		t.Errorf("served certificate differs from the file: %v", err)
	}
	if st := fileMode(t, s.dir+"/127.0.0.1.key"); st != 0600 {
		t.Errorf("key file mode %o", st)
	}
	// It is reused at the next start.
	s.stop(t)
	s2 := start(t, opts{mode: tlsIP, dir: s.dir})
	if string(readCert(t, s2.dir+"/127.0.0.1.crt").Raw) != string(c.Raw) {
		t.Error("new certificate at the second start")
	}
	exchangeOne(t, s2.stock(t), s2.stock(t), []byte("pinned"))
}

// Bytes that are no TLS at all, and records that lie, cost one connection.
func TestTLSGarbage(t *testing.T) {
	s := start(t, opts{mode: tlsName})
	others := s.pair(t)
	for _, b := range []string{
		"\x00", "\x16\x03\x01\x00\x00", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 70000), strings.Repeat("\x00", 20000),
		"\x15\x03\x01\x00\x02\x02\x00", "\x17\x03\x03\x00\x05hello", "\x14\x03\x03\x00\x01\x01", "\x16\x03\x01\x00\x04\x01\xff\xff\xff",
		"\x80\x2e\x01\x00\x02" + strings.Repeat("x", 44), "SSH-2.0-x\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
	} {
		c := s.tcp(t)
		io.WriteString(c, b)
		c.CloseWrite()
		c.SetReadDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, errTimeout) {
			t.Errorf("%.20q: not closed", b)
		}
	}
	// A record that fails to open ends its connection at any stage.
	tap := &breaker{Conn: s.tcp(t)}
	r := newRaw(t, s, s.secure(t, tap, nil))
	if err := r.upgrade(); err != nil {
		t.Fatal(err)
	}
	if err := r.login(key.NewNode(), infoUsual); err != nil {
		t.Fatal(err)
	}
	r.sync()
	tap.breakNext = true
	r.c.Write(encode(fPing, []byte("12345678")))
	r.wantClosed()
	others.relays()
}

// breaker flips a bit of the last byte of the next record.
type breaker struct {
	net.Conn
	breakNext bool
}

func (b *breaker) Write(p []byte) (int, error) {
	if b.breakNext {
		p = append([]byte(nil), p...)
		p[len(p)-1] ^= 1
	}
	return b.Conn.Write(p)
}
