# SPDX-License-Identifier: BSD-3-Clause
"""As much of DERP as a client needs, over anything with send() and recv(). Boxes by libsodium."""
import ctypes, ctypes.util, json, os, socket, ssl, struct, threading, time

from relay import PATIENCE

SERVER_KEY, CLIENT_INFO, SERVER_INFO, SEND_PACKET, RECV_PACKET, PEER_GONE, PING, PONG = 1, 2, 3, 4, 5, 8, 0x12, 0x13
UPGRADE = b"GET /derp HTTP/1.1\r\nHost: x\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Fast-Start: 1\r\n\r\n"

sodium = ctypes.CDLL(ctypes.util.find_library("sodium") or "libsodium.so.23")


def frame(kind, body=b""):
    return struct.pack(">BI", kind, len(body)) + body


class Derp:
    """Frames over a stream: anything with sendall(bytes) and recv(int)."""

    def __init__(self, stream):
        self.stream, self.buffer = stream, bytearray()
        self.private = os.urandom(32)
        public = ctypes.create_string_buffer(32)
        sodium.crypto_scalarmult_base(public, self.private)
        self.public = public.raw

    def client_info(self, server_key):
        text = json.dumps({"version": 2, "CanAckPings": True}).encode()
        nonce, box = os.urandom(24), ctypes.create_string_buffer(len(text) + 16)
        sodium.crypto_box_easy(box, text, ctypes.c_ulonglong(len(text)), nonce, server_key, self.private)
        return frame(CLIENT_INFO, self.public + nonce + box.raw)

    def login(self):
        self.stream.sendall(UPGRADE)
        kind, body = self.next()
        assert kind == SERVER_KEY, kind
        self.stream.sendall(self.client_info(body[8:40]))
        kind, _ = self.next()
        assert kind == SERVER_INFO, kind
        return self

    def pop(self):
        """A frame that is there, or None."""
        if len(self.buffer) < 5:
            return None
        kind, n = struct.unpack_from(">BI", self.buffer)
        if len(self.buffer) < 5 + n:
            return None
        body = bytes(self.buffer[5:5 + n])
        del self.buffer[:5 + n]
        return kind, body

    def next(self):
        while not (f := self.pop()):
            more = self.stream.recv(65536)
            if not more:
                raise EOFError
            self.buffer += more
        return f

    def wait(self, kind):
        while True:
            got, body = self.next()
            if got == kind:
                return body

    def send_packet(self, to, payload):
        self.stream.sendall(frame(SEND_PACKET, to + payload))


def connect(relay):
    """A well-behaved client over Python's own TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    s = context.wrap_socket(socket.create_connection(relay.addr, timeout=PATIENCE))
    return Derp(s).login()


class Bystanders(threading.Thread):
    """Two clients that exchange packets as long as the test runs, and miss nothing."""

    def __init__(self, relay):
        super().__init__(daemon=True)
        self.a, self.b = connect(relay), connect(relay)
        self.count, self.stopping, self.error = 0, False, None
        self.start()

    def exchange(self, a, b):
        payload = struct.pack(">Q", self.count) + os.urandom(self.count % 1200)
        a.send_packet(b.public, payload)
        got = b.wait(RECV_PACKET)
        if got != a.public + payload:
            raise AssertionError(f"packet {self.count} did not arrive as it was sent")
        self.count += 1

    def run(self):
        try:
            while not self.stopping:
                self.exchange(self.a, self.b)
                self.exchange(self.b, self.a)
                time.sleep(0.001)	# the cases want Python's lock too
        except Exception as e:
            self.error = e

    def stop(self):
        self.stopping = True
        self.join(PATIENCE)
        for c in (self.a, self.b):
            c.stream.close()
        if self.error or self.is_alive():
            raise AssertionError(f"a bystander was disturbed after {self.count} packets: {self.error!r}")
        return self.count
