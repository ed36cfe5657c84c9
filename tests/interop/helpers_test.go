// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"crypto/tls"
	"net"
	"testing"
	"time"
)

// clientHello records what Go's TLS would send first to s.
func clientHello(t testing.TB, s *server) []byte {
	t.Helper()
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	go tls.Client(a, s.tlsConfig()).Handshake()
	buf := make([]byte, 16<<10)
	b.SetReadDeadline(time.Now().Add(patience))
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}
