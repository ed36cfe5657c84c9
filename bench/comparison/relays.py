# SPDX-License-Identifier: BSD-3-Clause
"""Starts what is measured: xderpd, derper, or the floor."""

import os
import signal
import socket
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DERPER_VERSION = "v1.96.4"
START_S = 10


def flags(kind, address, key, certs):
    """Of xderpd or derper on one core; certs None: plain."""
    ret = ["-a", address, "-c", key, "-http-port", "-1", "-stun=false"]
    if certs:
        ret += ["-certmode", "manual", "-hostname", "127.0.0.1", "-certdir", certs]
    return ret + (["--shards", "1"] if kind == "xderpd" else [])


def is_listening(port):
    """Without connecting: the floor would take a look for a client."""
    with open("/proc/net/tcp") as f:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in f)


class Relay:
    """One fresh process on opt.server_cpus; use as a context. kind: xderpd, derper or floor."""

    def __init__(self, opt, kind, tls):
        self.opt, self.kind, self.tls = opt, kind, tls

    def command(self):
        address = f"127.0.0.1:{self.port}"
        if self.kind == "floor":
            return [self.opt.floor, address] + (["aead"] if self.tls else [])
        ret = [self.opt.derper if self.kind == "derper" else self.opt.xderpd]
        ret += flags(self.kind, address, f"{self.dir.name}/key", f"{self.dir.name}/certs" if self.tls else None)
        return ret + (self.opt.xderpd_flags.split() if self.kind == "xderpd" else [])

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="compare-")
        os.chmod(self.dir.name, 0o755)	# a relay started as root goes on as somebody else
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.log = open(f"{self.dir.name}/log", "w+")
        cpus = self.opt.server_cpus
        self.process = subprocess.Popen(self.command(), env=dict(os.environ, GOMAXPROCS="1"), stdout=self.log,
                                        stderr=self.log, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        try:
            self.wait_until_open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait_until_open(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            if is_listening(self.port):
                return
            time.sleep(0.02)
        self.log.seek(0)
        raise RuntimeError(f"{self.kind} did not start: {self.log.read()[-500:]}")

    def died(self):
        return self.process.poll() is not None

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.dir.cleanup()
