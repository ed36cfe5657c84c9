// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsZone answers questions from a table: "NAME A", "NAME AAAA" or "NAME TXT" to values. Other types of a name
// that it has are empty, other names do not exist.
type dnsZone struct {
	mu   sync.Mutex
	rows map[string][]string
	addr string
}

func startDNS(t testing.TB, addr string, rows map[string][]string) *dnsZone {
	t.Helper()
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	z := &dnsZone{rows: rows, addr: c.LocalAddr().String()}
	l, err := net.Listen("tcp", z.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go z.serveTCP(c)
		}
	}()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if b := z.answer(buf[:n]); b != nil {
				c.WriteTo(b, from)
			}
		}
	}()
	return z
}

func (z *dnsZone) serveTCP(c net.Conn) {
	defer c.Close()
	var n [2]byte
	for {
		if _, err := io.ReadFull(c, n[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(n[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		b := z.answer(query)
		c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	}
}

func (z *dnsZone) set(question string, values ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rows[question] = values
}

func (z *dnsZone) answer(query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	q := m.Questions[0]
	name := q.Name.String()
	name = name[:len(name)-1]
	m.Response, m.Authoritative, m.RecursionAvailable = true, true, true
	m.Additionals = nil
	m.RCode = dnsmessage.RCodeNameError
	for _, typ := range []string{"A", "AAAA", "TXT"} {
		if _, ok := z.rows[name+" "+typ]; ok {
			m.RCode = dnsmessage.RCodeSuccess
		}
	}
	h := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}
	values := z.rows[name+map[dnsmessage.Type]string{dnsmessage.TypeA: " A", dnsmessage.TypeAAAA: " AAAA", dnsmessage.TypeTXT: " TXT"}[q.Type]]
	for _, v := range values {
		var body dnsmessage.ResourceBody
		switch q.Type {
		case dnsmessage.TypeA:
			body = &dnsmessage.AResource{A: [4]byte(net.ParseIP(v).To4())}
		case dnsmessage.TypeAAAA:
			body = &dnsmessage.AAAAResource{AAAA: [16]byte(net.ParseIP(v))}
		default:
			body = &dnsmessage.TXTResource{TXT: []string{v}}
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: body})
	}
	b, err := m.Pack()
	if err != nil {
		return nil
	}
	return b
}
