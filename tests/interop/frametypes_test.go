// SPDX-License-Identifier: BSD-3-Clause

package interop

import (
	"bytes"
	"fmt"
	"testing"

	"tailscale.com/types/key"
)

// Every frame type in every state with legal, zero, largest and lying lengths.

type lengthCase int

const (
	lenLegal lengthCase = iota
	lenZero
	lenMax  // 4 GiB announced, some bytes, then our end closes
	lenLies // 50 bytes more announced than come before our end closes
	lenNR
)

func (l lengthCase) String() string { return [...]string{"legal", "zero", "max", "lies"}[l] }

// legalBody is a well-formed body for each type that has one.
func legalBody(typ byte, me, nobody key.NodePublic) []byte {
	switch typ {
	case fSendPacket:
		return append(me.AppendTo(nil), "to myself"...)
	case fForwardPacket:
		return append(nobody.AppendTo(nil), append(me.AppendTo(nil), "forwarded"...)...)
	case fNotePreferred:
		return []byte{1}
	case fWatchConns:
		return nil
	case fClosePeer:
		return nobody.AppendTo(nil)
	case fPing:
		return []byte("12345678")
	case fClientInfo:
		return make([]byte, 104)
	}
	return []byte{typ, 1, 2, 3, 4}
}

// typeCase sends one frame and checks its effect on a logged-in connection.
type typeCase struct {
	r    *raw
	typ  byte
	mesh bool
}

func (c typeCase) known() bool {
	switch c.typ {
	case fSendPacket, fForwardPacket, fNotePreferred, fWatchConns, fClosePeer, fPing:
		return true
	}
	return false
}

func (c typeCase) needsMesh() bool {
	return c.typ == fForwardPacket || c.typ == fWatchConns || c.typ == fClosePeer
}

func (c typeCase) run(l lengthCase, nobody key.NodePublic) error {
	body := legalBody(c.typ, c.r.pub, nobody)
	switch l {
	case lenLegal:
		c.r.write(encode(c.typ, body))
		if c.needsMesh() && !c.mesh {
			return c.mustClose()
		}
		return c.mustAnswer(body, nobody)
	case lenZero:
		c.r.write(encode(c.typ))
		if c.known() && !(c.typ == fWatchConns && c.mesh) {
			return c.mustClose()
		}
		return c.mustAnswer(nil, nobody)
	case lenMax:
		c.r.write(append(head(c.typ, 0xffffffff), body...))
	case lenLies:
		c.r.write(append(head(c.typ, uint32(len(body)+50)), body...))
	}
	c.r.halfClose()
	return c.mustClose()
}

func (c typeCase) mustClose() error {
	if f, err := c.r.frame(); err == nil {
		return fmt.Errorf("want close, got %v", f)
	}
	return nil
}

// mustAnswer wants what the frame calls for, then a Pong.
func (c typeCase) mustAnswer(body []byte, nobody key.NodePublic) error {
	var want []frame
	switch {
	case c.typ == fSendPacket:
		want = []frame{{fRecvPacket, body}}
	case c.typ == fForwardPacket:
		want = []frame{{fRecvPacket, append(body[:32:32], body[64:]...)}}
	case c.typ == fPing:
		want = []frame{{fPong, body[:8]}}
	}
	for _, w := range want {
		f, err := c.r.frame()
		if err != nil {
			return err
		}
		if f.typ != w.typ || !bytes.Equal(f.body, w.body) {
			return fmt.Errorf("got %v, want %v", f, w)
		}
	}
	c.r.write(encode(fPing, []byte("abcdefgh")))
	for {
		f, err := c.r.frame()
		switch {
		case err != nil:
			return err
		case f.typ == fPeerPresent && c.typ == fWatchConns:
		case f.typ == fPong && string(f.body) == "abcdefgh":
			return nil
		default:
			return fmt.Errorf("got %v, want a Pong", f)
		}
	}
}

func TestFrameTypesAfterLogin(t *testing.T) {
	for _, state := range []struct {
		name, info string
	}{{"ordinary", infoUsual}, {"mesh", infoMesh}} {
		t.Run(state.name, func(t *testing.T) {
			s := start(t, opts{mesh: true})
			others := s.pair(t)
			me, nobody := key.NewNode(), key.NewNode().Public()
			for l := range lenNR {
				for typ := range 256 {
					r := s.clientAs(t, me, state.info)
					c := typeCase{r, byte(typ), state.name == "mesh"}
					if err := c.run(l, nobody); err != nil {
						t.Errorf("type %#02x, %v length: %v", typ, l, err)
					}
					r.c.Close()
				}
				others.relays()
			}
		})
	}
}

// The same inside TLS, for the types that mean something and a few that do not.
func TestFrameTypesAfterLoginTLS(t *testing.T) {
	s := start(t, opts{mode: tlsName, mesh: true})
	others := s.pair(t)
	me, nobody := key.NewNode(), key.NewNode().Public()
	for _, info := range []string{infoUsual, infoMesh} {
		for l := range lenNR {
			for typ := range 0x20 {
				r := s.clientAs(t, me, info)
				c := typeCase{r, byte(typ), info == infoMesh}
				if err := c.run(l, nobody); err != nil {
					t.Errorf("%s type %#02x, %v length: %v", info, typ, l, err)
				}
				r.c.Close()
			}
		}
	}
	others.relays()
}

// Before login only ClientInfo of 56 to 262144 bytes is read; all else closes.
func TestFrameTypesBeforeLogin(t *testing.T) {
	s := start(t, opts{})
	others := s.pair(t)
	me, nobody := key.NewNode(), key.NewNode().Public()
	for l := range lenNR {
		for typ := range 256 {
			r := s.upgrade(t)
			body := legalBody(byte(typ), me.Public(), nobody)
			switch l {
			case lenLegal:
				if typ == fClientInfo {
					r.c.Close()
					continue
				}
				r.write(encode(byte(typ), body))
			case lenZero:
				r.write(encode(byte(typ)))
			case lenMax:
				r.write(append(head(byte(typ), 0xffffffff), body...))
			case lenLies:
				r.write(append(head(byte(typ), uint32(len(body)+50)), body...))
				if typ == fClientInfo {
					r.halfClose()
				}
			}
			if f, err := r.frame(); err == nil {
				t.Errorf("type %#02x, %v length: got %v", typ, l, f)
			}
			r.c.Close()
		}
		others.relays()
	}
	for _, n := range []uint32{0, 1, 31, 32, 55, 262145, 1 << 20, 1 << 31} {
		r := s.upgrade(t)
		r.write(head(fClientInfo, n))
		r.wantClosed()
	}
	others.relays()
}

// A long unknown frame is skipped to its end, whatever is inside it.
func TestUnknownFrameSkipped(t *testing.T) {
	for _, m := range []mode{plain, tlsName} {
		t.Run(m.String(), func(t *testing.T) {
			s := start(t, opts{mode: m})
			r := s.client(t)
			body := bytes.Repeat(encode(fPing, []byte("inside!!")), 5000) // 65000 bytes
			for range 10 {
				r.send(0x7f, body)
			}
			r.sync()
		})
	}
}
