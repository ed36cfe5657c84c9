# SPDX-License-Identifier: BSD-3-Clause
"""A relay to test: XDERP_SERVER is the program, XDERP_ARGS are its further flags."""
import collections, os, re, shutil, signal, socket, subprocess, tempfile, time, urllib.request

PATIENCE = 60	# seconds; bounds every wait for what must happen
PROGRAM = os.path.abspath(os.environ.get("XDERP_SERVER", "build/xderpd"))
ARGS = os.environ.get("XDERP_ARGS", "").split()


def record_kind():
    """Whose records are under test, by the flags of the relay: "own", "openssl" or "ktls"."""
    for arg in ARGS:
        name, _, value = arg.lstrip("-").partition("=")
        if (name, value) == ("ktls", "on"):
            return "ktls"
        if (name, value) == ("records", "openssl"):
            return "openssl"
    return "own"


def fail(why):
    raise AssertionError(why)


def until(what, cond):
    end = time.monotonic() + PATIENCE
    while not (value := cond()):
        if time.monotonic() > end:
            raise AssertionError(f"waited {PATIENCE} s for {what}")
        time.sleep(0.01)
    return value


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Relay:
    def __init__(self, *args):
        self.dir = tempfile.mkdtemp(prefix="tls-")
        port, self.port80 = free_port(), free_port()
        self.addr = ("127.0.0.1", port)
        self.log = open(f"{self.dir}/log", "w+")
        argv = [PROGRAM, "-a", f"127.0.0.1:{port}", "-c", f"{self.dir}/key", "-http-port", str(self.port80),
                "-stun=false", "-certmode", "manual", "-certdir", self.dir, "-hostname", "127.0.0.1",
                "-control-socket", "", *args, *ARGS]
        self.process = subprocess.Popen(argv, stdout=self.log, stderr=self.log, cwd=self.dir)
        until("the relay to listen", self.listens)

    def listens(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the relay ended at once:\n{self.log_text()}")
        try:
            socket.create_connection(self.addr).close()
            return True
        except OSError:
            return False

    def log_text(self):
        with open(f"{self.dir}/log", errors="replace") as f:
            return f.read()

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port80}/metrics", timeout=PATIENCE) as r:
            text = r.read().decode()
        return collections.Counter({k: float(v) for k, v in re.findall(r"^([^#\s]\S*) (\S+)$", text, re.M)})

    def closes(self):
        """Closed connections by reason. HTTP answers, as this one, are not what anybody asks for here."""
        m = self.metrics()
        c = {k.split('"')[1]: int(v) for k, v in m.items() if k.startswith("xderp_connections_closed_total{")}
        c.pop("done", None)
        return collections.Counter(c)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        """Ends it and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        return status

    def remove(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)
