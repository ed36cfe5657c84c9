# SPDX-License-Identifier: BSD-3-Clause
"""What a client may do to its records after the handshake, and what must come of it. A case is a function that sends; a ping follows, and
Client.outcome() is compared with what the row says: for TLS 1.3 with the relay's own records, and where they differ with OpenSSL's, the
kernel's, and for TLS 1.2, which is always OpenSSL's."""
import fcntl, os, random, socket, struct, termios

from client import ALERT, CCS, CLOSE_NOTIFY, DATA, HANDSHAKE, KEY_UPDATE, PLAIN_MAX, TAG_LEN
from derp import PING, PONG, RECV_PACKET, SEND_PACKET, frame
from relay import until

ALIVE = "alive"
UNEXPECTED, BAD_MAC, OVERFLOW, ILLEGAL, DECODE = (f"alert {n} eof" for n in (10, 20, 22, 47, 50))
NO_HANDSHAKE, VERSION, INTERNAL = (f"alert {n} eof" for n in (40, 70, 80))
NO_RENEGOTIATION = "alert 100 alive"
CUT = "eof"			# it was the client who went
HEARD = "eof "			# the client gave an alert, to which there is no answer
IN_ORDER = "alert 0 eof"	# close_notify for close_notify
NO_REKEY = "alert 0 eof "	# close_notify, where the kernel can't change keys
RESET = "eof|reset"		# the kernel keeps what does not make a record; a socket with unread bytes may close that way

CASES = []


def kernel_changes_keys():
    """Of a connection that has kTLS: as of Linux 6.14."""
    return tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 14)


class Case:
    def __init__(self, name, run, own, differs):
        self.name, self.run, self.own, self.differs = name, run, own, differs

    def want(self, kind):
        if kind == "ktls" and kernel_changes_keys():
            kind = "rekey" if "rekey" in self.differs or self.differs.get(kind) == NO_REKEY else kind
        return self.differs.get(kind, self.own)


def case(name, own, **differs):
    """differs: openssl=, ktls=, tls12= where their outcome is another; None: no such case there. rekey=: kTLS of a kernel that changes
    keys; it takes the first byte of a KeyUpdate for the whole, and what follows without new keys for an error."""
    def add(run):
        CASES.append(Case(name, run, own, differs))
        return run
    return add


def filler(n):
    """A whole frame of n bytes to nobody."""
    return frame(SEND_PACKET, os.urandom(32) + bytes(n - 37))


def empty(c, n=1):
    return b"".join(c.seal(DATA, b"") for _ in range(n))


def spoil(record, at=-1):
    r = bytearray(record)
    r[at] ^= 1
    return bytes(r)


def fin(c):
    c.sock.shutdown(socket.SHUT_WR)


def echo(c, payload):
    """A packet to oneself goes through the relay and comes back."""
    c.derp.send_packet(c.derp.public, payload)
    assert c.derp.wait(RECV_PACKET) == c.derp.public + payload, "the packet came back changed"


# --- how long records may be (RFC 8446 section 5.2, 5.4)

@case("limit: 16384 bytes of text", ALIVE)
def _(c):
    c.send(c.seal(DATA, filler(PLAIN_MAX)))


@case("limit: 16385 bytes of text", OVERFLOW)
def _(c):
    c.send(c.seal(DATA, filler(PLAIN_MAX + 1)))


@case("limit: 16640 bytes sealed", OVERFLOW, tls12=None)
def _(c):
    c.send(c.seal(DATA, filler(16640 - TAG_LEN - 1)))


@case("limit: head says 16640, rubbish behind", BAD_MAC, ktls=OVERFLOW)
def _(c):
    c.send(struct.pack(">BHH", DATA, 0x0303, 16640) + os.urandom(16640))


@case("limit: head says 16641", OVERFLOW, tls12=None)
def _(c):
    c.send(struct.pack(">BHH", DATA, 0x0303, 16641) + os.urandom(16641))


@case("limit: head says 65535", OVERFLOW)
def _(c):
    c.send(struct.pack(">BHH", DATA, 0x0303, 65535) + os.urandom(300))


# --- padding (5.4)

@case("padding: up to the limit", ALIVE, tls12=None)
def _(c):
    f = filler(100)
    c.send(c.seal(DATA, f, PLAIN_MAX - len(f)))


@case("padding: one over the limit", OVERFLOW, tls12=None, openssl=ALIVE)
def _(c):
    f = filler(100)
    c.send(c.seal(DATA, f, PLAIN_MAX - len(f) + 1))


@case("padding: nothing else", UNEXPECTED, tls12=None, ktls=BAD_MAC)
def _(c):
    c.send(c.seal(0, b"", 100))


@case("padding: nothing else, one byte", UNEXPECTED, tls12=None, ktls=BAD_MAC)
def _(c):
    c.send(c.seal(0, b""))


@case("padding: nothing else, 16385 bytes", UNEXPECTED, tls12=None, ktls=BAD_MAC)
def _(c):
    c.send(c.seal(0, b"", PLAIN_MAX))


@case("padding: behind a KeyUpdate", ALIVE, tls12=None, ktls=NO_REKEY)
def _(c):
    c.send(c.key_update(pad=1000))


# --- records without data (5.1)

@case("empty: 20 records", ALIVE)
def _(c):
    c.send(empty(c, 20))


@case("empty: 20, and padded to the limit", ALIVE, tls12=None)
def _(c):
    for _ in range(20):
        c.send(c.seal(DATA, b"", PLAIN_MAX))


@case("empty: 20 between data, again and again", ALIVE)
def _(c):
    for _ in range(10):
        c.send(empty(c, 20) + c.seal(DATA, filler(40)))


@case("empty: 1000 records", UNEXPECTED, ktls=ALIVE)
def _(c):
    c.send(empty(c, 1000))


@case("empty: a sealed length of 0", BAD_MAC, tls12=INTERNAL)
def _(c):
    c.send(struct.pack(">BHH", DATA, 0x0303, 0))


@case("empty: a sealed length of 1", BAD_MAC, tls12=INTERNAL)
def _(c):
    c.send(struct.pack(">BHH", DATA, 0x0303, 1) + b"x")


@case("empty: a tag and no content type", UNEXPECTED, tls12=None, openssl=BAD_MAC, ktls=BAD_MAC)
def _(c):
    state = c.layer._writeState
    head = struct.pack(">BHH", DATA, 0x0303, TAG_LEN)
    nonce = c.nonce(state, state.getSeqNumBytes())
    c.send(head + bytes(state.encContext.seal(nonce, bytearray(), bytearray(head))))


# --- tags

@case("tag: last bit", BAD_MAC)
def _(c):
    c.send(spoil(c.seal(DATA, filler(100))))


@case("tag: first bit of the text", BAD_MAC)
def _(c):
    c.send(spoil(c.seal(DATA, filler(100)), 5 if c.tls13 else 13))


@case("tag: a length changed on the way", BAD_MAC)
def _(c):
    r = bytearray(c.seal(DATA, filler(100)))
    r[4] -= 1
    c.send(bytes(r[:-1]))


@case("tag: a record left out", BAD_MAC)
def _(c):
    c.seal(DATA, filler(100))
    c.send(c.seal(DATA, filler(100)))


@case("tag: a record twice", BAD_MAC)
def _(c):
    r = c.seal(DATA, filler(100))
    c.send(r + r)


@case("tag: two in the wrong order", BAD_MAC)
def _(c):
    a, b = c.seal(DATA, filler(100)), c.seal(DATA, filler(100))
    c.send(b + a)


@case("tag: wrong again and again", BAD_MAC)
def _(c):
    c.send(b"".join(spoil(c.seal(DATA, filler(100))) for _ in range(50)))


@case("tag: wrong behind data that is right", BAD_MAC)
def _(c):
    c.send(c.seal(DATA, filler(100)) + spoil(c.seal(DATA, filler(100))) + c.seal(DATA, filler(100)))


@case("tag: wrong in a KeyUpdate", BAD_MAC, tls12=None)
def _(c):
    c.send(spoil(c.key_update()))


# --- streams that end too soon

@case("cut: in the head", CUT, ktls=RESET)
def _(c):
    c.send(c.ping()[:3])
    fin(c)


@case("cut: in the body", CUT, ktls=RESET)
def _(c):
    c.send(c.seal(DATA, filler(10000))[:7000])
    fin(c)


@case("cut: in the tag", CUT, ktls=RESET)
def _(c):
    c.send(c.seal(DATA, filler(10000))[:-1])
    fin(c)


@case("cut: between records", CUT)
def _(c):
    fin(c)


@case("cut: in a KeyUpdate of two records", CUT, tls12=None, rekey=RESET)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([KEY_UPDATE, 0])))
    fin(c)


# --- KeyUpdate (4.6.3)

@case("KeyUpdate: not asked for", ALIVE, tls12=None, ktls=NO_REKEY)
def _(c):
    c.send(c.key_update())
    echo(c, os.urandom(3000))
    assert c.key_updates == 0


@case("KeyUpdate: asked for", ALIVE, tls12=None, ktls=NO_REKEY)
def _(c):
    c.send(c.key_update(1))
    echo(c, os.urandom(3000))
    assert c.key_updates == 1, c.key_updates


@case("KeyUpdate: 40 of both kinds, data between", ALIVE, tls12=None, ktls=NO_REKEY)
def _(c):
    for i in range(40):
        c.send(c.key_update(i & 1))
        echo(c, os.urandom(100 * i))
    assert c.key_updates == 20, c.key_updates


@case("KeyUpdate: in one segment with data", ALIVE, tls12=None, ktls=NO_REKEY)
def _(c):
    payload = os.urandom(500)
    out = b""
    for _ in range(20):
        out += c.key_update(1) + c.seal(DATA, frame(SEND_PACKET, c.derp.public + payload))
    c.send(out)
    for _ in range(20):
        assert c.derp.wait(RECV_PACKET) == c.derp.public + payload


@case("KeyUpdate: three asked for, one answer at least", ALIVE, tls12=None, ktls=NO_REKEY)
def _(c):
    c.send(c.key_update(1) + c.key_update(1) + c.key_update(1))
    echo(c, b"x")
    assert 1 <= c.key_updates <= 3, c.key_updates


@case("KeyUpdate: in two records", ALIVE, tls12=None, ktls=NO_REKEY, rekey=RESET)
def _(c):
    body = bytes([KEY_UPDATE, 0, 0, 1, 0])
    c.send(c.seal(HANDSHAKE, body[:2]) + c.seal(HANDSHAKE, body[2:]))
    c.rekey_write()


@case("KeyUpdate: 1000 and no data", UNEXPECTED, tls12=None, openssl=ALIVE, ktls=NO_REKEY)
def _(c):
    c.send(b"".join(c.key_update() for _ in range(1000)))


@case("KeyUpdate: 1000 asked for and no data", UNEXPECTED, tls12=None, openssl=ALIVE, ktls=NO_REKEY)
def _(c):
    c.send(b"".join(c.key_update(1) for _ in range(1000)))


@case("KeyUpdate: asks for 2", ILLEGAL, tls12=None)
def _(c):
    c.send(c.key_update(2))


@case("KeyUpdate: asks for 255", ILLEGAL, tls12=None)
def _(c):
    c.send(c.key_update(255))


@case("KeyUpdate: length 0", DECODE, tls12=None)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 0])))


@case("KeyUpdate: length 2", DECODE, tls12=None, openssl=ILLEGAL)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 2, 0, 0])))


@case("KeyUpdate: length 16 MiB", DECODE, tls12=None, openssl=ILLEGAL)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([KEY_UPDATE, 0xff, 0xff, 0xff, 0])))


@case("KeyUpdate: two in one record", UNEXPECTED, tls12=None)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 1, 0] * 2)))


@case("KeyUpdate: the old key goes on", BAD_MAC, tls12=None, ktls=NO_REKEY)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 1, 0])) + c.seal(DATA, filler(100)))


@case("KeyUpdate: data inside it", UNEXPECTED, tls12=None, rekey=RESET)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([KEY_UPDATE, 0])) + c.seal(DATA, filler(100)))


@case("KeyUpdate: an alert inside it", UNEXPECTED, tls12=None, rekey=RESET)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([KEY_UPDATE, 0])) + c.seal(ALERT, CLOSE_NOTIFY))


# --- alerts (6)

@case("alert: close_notify", IN_ORDER)
def _(c):
    c.send(c.seal(ALERT, CLOSE_NOTIFY))


@case("alert: close_notify and FIN", IN_ORDER)
def _(c):
    c.send(c.seal(ALERT, CLOSE_NOTIFY))
    fin(c)


@case("alert: close_notify, data behind it", IN_ORDER)
def _(c):
    c.send(c.seal(ALERT, CLOSE_NOTIFY) + c.seal(DATA, filler(100)) + spoil(c.ping()))


@case("alert: close_notify of level fatal", IN_ORDER, tls12=HEARD)
def _(c):
    c.send(c.seal(ALERT, b"\2\0"))


@case("alert: user_canceled, close_notify", IN_ORDER)
def _(c):
    c.send(c.seal(ALERT, b"\1\x5a") + c.seal(ALERT, CLOSE_NOTIFY))


@case("alert: user_canceled alone", ALIVE)
def _(c):
    c.send(c.seal(ALERT, b"\1\x5a"))


@case("alert: user_canceled 1000 times", UNEXPECTED)
def _(c):
    c.send(b"".join(c.seal(ALERT, b"\1\x5a") for _ in range(1000)))


@case("alert: fatal internal_error", HEARD)
def _(c):
    c.send(c.seal(ALERT, b"\2\x50"))


@case("alert: unknown, fatal", HEARD)
def _(c):
    c.send(c.seal(ALERT, b"\2\xc8"))


@case("alert: unknown, warning", HEARD, tls12=ALIVE)
def _(c):
    c.send(c.seal(ALERT, b"\1\xc8"))


@case("alert: unknown level", HEARD, tls12=ILLEGAL)
def _(c):
    c.send(c.seal(ALERT, b"\3\x50"))


@case("alert: no_renegotiation", HEARD, tls12=NO_HANDSHAKE)
def _(c):
    c.send(c.seal(ALERT, b"\1\x64"))


@case("alert: one byte", DECODE, openssl=UNEXPECTED, tls12=UNEXPECTED)
def _(c):
    c.send(c.seal(ALERT, b"\1"))


@case("alert: three bytes", DECODE, openssl=UNEXPECTED, tls12=UNEXPECTED)
def _(c):
    c.send(c.seal(ALERT, b"\1\0\0"))


@case("alert: two in one record", DECODE, openssl=UNEXPECTED, tls12=UNEXPECTED)
def _(c):
    c.send(c.seal(ALERT, b"\1\x5a\1\0"))


@case("alert: empty", UNEXPECTED)
def _(c):
    c.send(c.seal(ALERT, b""))


@case("alert: in plaintext", UNEXPECTED, tls12=INTERNAL, ktls=BAD_MAC)
def _(c):
    c.send(struct.pack(">BHH", ALERT, 0x0303, 2) + b"\2\x50")


@case("alert: close_notify in plaintext", UNEXPECTED, tls12=INTERNAL, ktls=BAD_MAC)
def _(c):
    c.send(struct.pack(">BHH", ALERT, 0x0303, 2) + CLOSE_NOTIFY)


# --- ChangeCipherSpec: dropped during a handshake, and never after it (5)

@case("CCS: in plaintext", UNEXPECTED, tls12=INTERNAL, ktls=BAD_MAC)
def _(c):
    c.send(struct.pack(">BHH", CCS, 0x0303, 1) + b"\1")


@case("CCS: in plaintext, 1000 times", UNEXPECTED, tls12=INTERNAL, ktls=BAD_MAC)
def _(c):
    c.send((struct.pack(">BHH", CCS, 0x0303, 1) + b"\1") * 1000)


@case("CCS: two bytes", UNEXPECTED, tls12=INTERNAL, ktls=BAD_MAC)
def _(c):
    c.send(struct.pack(">BHH", CCS, 0x0303, 2) + b"\1\1")


@case("CCS: sealed", UNEXPECTED)
def _(c):
    c.send(c.seal(CCS, b"\1"))


# --- handshake messages that have no business here (4.6, 4.1.2)

CLIENT_HELLO = bytes([1, 0, 0, 41, 3, 3]) + bytes(32) + bytes([0, 0, 2, 0x13, 1, 1, 0])


@case("handshake: ClientHello", UNEXPECTED, tls12=NO_RENEGOTIATION)
def _(c):
    c.send(c.seal(HANDSHAKE, CLIENT_HELLO))


@case("handshake: ClientHello in plaintext", UNEXPECTED, tls12=VERSION)
def _(c):
    c.send(struct.pack(">BHH", HANDSHAKE, 0x0301, len(CLIENT_HELLO)) + CLIENT_HELLO)


def unexpected_message(kind, what):
    @case(f"handshake: {what}", UNEXPECTED)
    def _(c):
        c.send(c.seal(HANDSHAKE, bytes([kind, 0, 0, 32]) + bytes(32)))


for kind, what in ((2, "ServerHello"), (4, "NewSessionTicket"), (5, "EndOfEarlyData"), (8, "EncryptedExtensions"),
                   (11, "Certificate"), (13, "CertificateRequest"), (15, "CertificateVerify"), (20, "Finished"),
                   (99, "unknown type"), (254, "message_hash")):
    unexpected_message(kind, what)


@case("handshake: HelloRequest", UNEXPECTED)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes(4)))


@case("handshake: empty", UNEXPECTED, tls12=ALIVE)
def _(c):
    c.send(c.seal(HANDSHAKE, b""))


@case("handshake: 16 MiB announced", UNEXPECTED, tls12=ILLEGAL)
def _(c):
    c.send(c.seal(HANDSHAKE, bytes([1, 0xff, 0xff, 0xff]) + bytes(1000)))


# --- content types and heads (5.1, 5.2)

def content_type(kind):
    @case(f"type: {kind} sealed", UNEXPECTED)
    def _(c):
        c.send(c.seal(kind, filler(40)))

    @case(f"type: {kind} in plaintext", UNEXPECTED, tls12=BAD_MAC, ktls=BAD_MAC)
    def _(c):
        c.send(struct.pack(">BHH", kind, 0x0303, 40) + filler(40))


for kind in (19, 24, 25, 128, 255):
    content_type(kind)


@case("type: 0 in plaintext", UNEXPECTED, tls12=BAD_MAC, ktls=BAD_MAC)
def _(c):
    c.send(struct.pack(">BHH", 0, 0x0303, 40) + filler(40))


@case("type: data in plaintext", BAD_MAC)
def _(c):
    c.send(struct.pack(">BHH", DATA, 0x0303, 40) + filler(40))


@case("type: data, sealed in a head that says handshake", UNEXPECTED, tls12=None, ktls=BAD_MAC)
def _(c):
    c.send(c.seal(DATA, filler(40), outer=HANDSHAKE))


def version(v, openssl):
    @case(f"version: {v:04x}", ALIVE, openssl=openssl, tls12=VERSION, ktls=UNEXPECTED)
    def _(c):
        c.send(c.seal(DATA, filler(40), version=v))


for v in (0x0301, 0x0300, 0x0304):
    version(v, DECODE)
for v in (0x0000, 0xffff):
    version(v, VERSION)


# --- how records meet TCP

def settle(c):
    """All that was sent is with the relay's kernel, so that what follows is another segment."""
    until("the relay's TCP to take it", lambda: not struct.unpack("i", fcntl.ioctl(c.sock, termios.TIOCOUTQ, b"1234"))[0])


@case("torn: in two at every byte", ALIVE)
def _(c):
    for at in range(1, 5 + 1 + 13 + TAG_LEN):
        r = c.ping()
        c.send(r[:at])
        settle(c)
        c.send(r[at:])
        c.derp.wait(PONG)


@case("torn: byte by byte", ALIVE)
def _(c):
    for b in c.ping() + c.seal(DATA, filler(100)):
        c.send(bytes([b]))
        settle(c)
    c.derp.wait(PONG)


@case("torn: large records at random", ALIVE)
def _(c):
    stream = b"".join(c.seal(DATA, frame(SEND_PACKET, c.derp.public + bytes([i]) * 10000)) for i in range(8))
    while stream:
        n = random.randrange(1, 9000)
        c.send(stream[:n])
        settle(c)
        stream = stream[n:]
    for i in range(8):
        assert c.derp.wait(RECV_PACKET) == c.derp.public + bytes([i]) * 10000, i


@case("torn: 200 records in one segment", ALIVE)
def _(c):
    c.send(b"".join(c.seal(DATA, frame(SEND_PACKET, c.derp.public + bytes([i % 251]) * i)) for i in range(50) for _ in range(4)))
    for i in range(50):
        for _ in range(4):
            assert c.derp.wait(RECV_PACKET) == c.derp.public + bytes([i % 251]) * i, i


@case("torn: a frame of a record per byte", ALIVE)
def _(c):
    c.send(b"".join(c.seal(DATA, bytes([b])) for b in frame(SEND_PACKET, c.derp.public + b"0123456789")))
    assert c.derp.wait(RECV_PACKET) == c.derp.public + b"0123456789"


@case("torn: a frame of 64 KiB", ALIVE)
def _(c):
    echo(c, bytes(range(256)) * 256)
