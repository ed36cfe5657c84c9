# SPDX-License-Identifier: BSD-3-Clause
"""A TLS client that can send what no library sends: the handshake and the ciphers are tlslite-ng's, records are made here."""
import socket, struct

from tlslite.api import HandshakeSettings, TLSConnection
from tlslite.constants import CipherSuite
from tlslite.mathtls import calc_key
from tlslite.utils.cryptomath import HKDF_expand_label

from derp import PING, PONG, Derp, frame
from relay import PATIENCE

CCS, ALERT, HANDSHAKE, DATA = 20, 21, 22, 23
TAG_LEN, PLAIN_MAX = 16, 16384
KEY_UPDATE = 24
CLOSE_NOTIFY = b"\1\0"


class Client:
    """minor: 3 for TLS 1.2, 4 for TLS 1.3. cipher: a name of tlslite's."""

    def __init__(self, addr, minor=4, cipher="aes128gcm"):
        settings = HandshakeSettings()
        settings.minVersion = settings.maxVersion = (3, minor)
        settings.cipherNames = [cipher]
        settings.cipherImplementations = ["python"]
        settings.keyShares = ["x25519"]
        settings.eccCurves = ["x25519", "secp256r1"]	# the latter for the certificate in TLS 1.2
        self.sock = socket.create_connection(addr, timeout=PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = TLSConnection(self.sock)
        self.tls.handshakeClientCert(settings=settings)
        self.tls13 = minor == 4
        self.layer = self.tls._recordLayer
        self.buffer = bytearray()
        self.key_updates = 0	# that the server sent
        self.ends = []		# what came of records that end a connection
        self.derp = Derp(self)

    # --- sealing

    def nonce(self, state, seq):
        if len(state.fixedNonce) == 4:	# AES-GCM in TLS 1.2: the rest is explicit
            return state.fixedNonce + seq
        pad = bytes(len(state.fixedNonce) - len(seq)) + bytes(seq)
        return bytearray(a ^ b for a, b in zip(pad, state.fixedNonce))

    def seal(self, kind, content, pad=0, outer=None, version=0x0303):
        """A record, sealed with the next sequence number. pad and outer are of TLS 1.3."""
        state = self.layer._writeState
        seq = state.getSeqNumBytes()
        nonce = self.nonce(state, seq)
        if not self.tls13:
            aad = seq + struct.pack(">BHH", kind, version, len(content))
            body = bytes(state.encContext.seal(nonce, bytearray(content), aad))
            if len(state.fixedNonce) == 4:
                body = bytes(seq) + body
            return struct.pack(">BHH", kind, version, len(body)) + body
        inner = bytearray(content) + bytes([kind]) + bytes(pad)
        head = struct.pack(">BHH", DATA if outer is None else outer, version, len(inner) + TAG_LEN)
        return head + bytes(state.encContext.seal(nonce, inner, bytearray(head)))

    def rekey_write(self):
        s = self.tls.session
        s.cl_app_secret, s.sr_app_secret = self.layer.calcTLS1_3KeyUpdate_reciever(
            s.cipherSuite, s.cl_app_secret, s.sr_app_secret)

    def rekey_read(self):
        s = self.tls.session
        s.cl_app_secret, s.sr_app_secret = self.layer.calcTLS1_3KeyUpdate_sender(
            s.cipherSuite, s.cl_app_secret, s.sr_app_secret)

    def key_update(self, request=0, pad=0):
        """The record, sealed; what is sealed next has the next key."""
        r = self.seal(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 1, request]), pad)
        self.rekey_write()
        return r

    def send(self, raw):
        self.sock.sendall(raw)

    def secrets(self):
        """What must not be found anywhere else, by name: the secrets of both sides, the keys and the initialisation vectors. AES-GCM's in
        TLS 1.2 is left out: four bytes are found everywhere."""
        s = self.tls.session
        key_len = self.layer._getCipherSettings(s.cipherSuite)[0]
        if not self.tls13:
            block = calc_key((3, 3), s.masterSecret, s.cipherSuite, b"key expansion", client_random=self.tls._clientRandom,
                             server_random=self.tls._serverRandom, output_length=2 * key_len)
            return {"master secret": bytes(s.masterSecret), "client key": bytes(block[:key_len]), "server key": bytes(block[key_len:])}
        found = {}
        prf = "sha384" if s.cipherSuite in CipherSuite.sha384PrfSuites else "sha256"
        for side, secret in (("client", s.cl_app_secret), ("server", s.sr_app_secret)):
            found[f"{side} secret"] = bytes(secret)
            found[f"{side} key"] = bytes(HKDF_expand_label(secret, b"key", b"", key_len, prf))
            found[f"{side} iv"] = bytes(HKDF_expand_label(secret, b"iv", b"", 12, prf))
        return found

    # --- opening

    def fill(self, n):
        while len(self.buffer) < n:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self.buffer += more

    def next_record(self):
        """(content type, plaintext); EOFError at the end of the stream, ConnectionError at a reset."""
        self.fill(5)
        kind, version, n = struct.unpack_from(">BHH", self.buffer)
        assert version == 0x0303 and n <= PLAIN_MAX + 256, (kind, version, n)
        self.fill(5 + n)
        head, body = bytes(self.buffer[:5]), self.buffer[5:5 + n]
        del self.buffer[:5 + n]
        state = self.layer._readState
        seq = state.getSeqNumBytes()
        if self.tls13:
            assert kind == DATA, f"plaintext record of type {kind}"
            inner = state.encContext.open(self.nonce(state, seq), body, bytearray(head))
            assert inner is not None, "the server's record does not open"
            inner = bytes(inner).rstrip(b"\0")
            return inner[-1], inner[:-1]
        if len(state.fixedNonce) == 4:
            seq_nonce, body = state.fixedNonce + body[:8], body[8:]
        else:
            seq_nonce = self.nonce(state, seq)
        aad = seq + struct.pack(">BHH", kind, version, len(body) - TAG_LEN)
        text = state.encContext.open(seq_nonce, body, aad)
        assert text is not None, "the server's record does not open"
        return kind, bytes(text)

    # --- a stream for Derp

    def sendall(self, data):
        for i in range(0, len(data), PLAIN_MAX):
            self.send(self.seal(DATA, data[i:i + PLAIN_MAX]))

    def recv(self, _):
        while True:
            kind, text = self.next_record()
            if kind == DATA:
                return text
            if kind == HANDSHAKE and text[0] == KEY_UPDATE:
                assert text == bytes([KEY_UPDATE, 0, 0, 1, 0]), text
                self.key_updates += 1
                self.rekey_read()
                continue
            self.ends.append(f"alert {text[1]}" if kind == ALERT and len(text) == 2 else f"type {kind}")
            raise Ended(kind, text)

    def ping(self):
        return self.seal(DATA, frame(PING, b"12345678"))

    def outcome(self):
        """What became of the connection: "alive" (it answers a ping that was sent), or how it ended: the alerts that came, by number, and
        "eof" or "reset"."""
        while True:
            try:
                self.derp.wait(PONG)
                return " ".join(self.ends + ["alive"])
            except Ended:
                continue
            except EOFError:
                return " ".join(self.ends + ["eof"])
            except ConnectionError:
                return " ".join(self.ends + ["reset"])

    def close(self):
        self.sock.close()


class Ended(Exception):
    """A record came that is neither data nor a KeyUpdate."""
