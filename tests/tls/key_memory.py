#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Where keys of TLS connections are in the relay's memory: in no core dump while they are used, nowhere afterwards. Lines are those of `go test -v`.

What a core would hold is read from /proc/PID/mem by the flags in smaps; a real core is read too where the kernel writes one to a file."""
import os, pwd, re, resource, signal, sys

from client import ALERT, CLOSE_NOTIFY, Client
from negative import CIPHERS, afterwards
from relay import PATIENCE, Relay, fail, record_kind, until


class Region:
    def __init__(self, line):
        m = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)", line)
        self.start, self.end = (int(x, 16) for x in m.group(1, 2))
        self.access, self.name, self.flags = m.group(3), m.group(4), []

    def __str__(self):
        return f"{self.start:x}-{self.end:x} {self.access} {self.name or 'anonymous'} [{' '.join(self.flags)}]"


def regions(pid):
    found = []
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                found.append(Region(line))
            elif line.startswith("VmFlags:"):
                found[-1].flags = line.split()[1:]
    return found


def search(pid, secrets, wanted):
    """Returns {name of a secret: region} for what is found in regions that wanted() takes."""
    found = {}
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for r in regions(pid):
            if "r" not in r.access or r.name in ("[vvar]", "[vsyscall]", "[vvar_vclock]") or not wanted(r):
                continue
            try:
                text = read(mem, r)
            except OSError:
                continue	# memory of a device, as io_uring's rings
            found.update({name: str(r) for name in occurring(secrets, text)})
    return found


def occurring(secrets, text):
    """The names of those that are in text, as bytes or in hex."""
    lower = text.lower()
    return [name for name, secret in secrets.items() if secret in text or secret.hex().encode() in lower]


def read(mem, r):
    """Only pages that are there: reserved memory is large."""
    page, parts = resource.getpagesize(), []
    with open(f"/proc/{mem.name.split('/')[2]}/pagemap", "rb", 0) as f:
        f.seek(r.start // page * 8)
        entries = f.read((r.end - r.start) // page * 8)
    present = [bool(e & 0xc0) for e in entries[7::8]]	# in memory, or swapped out
    i = 0
    while i < len(present):
        n = next((k for k in range(i, len(present)) if present[k] != present[i]), len(present)) - i
        if present[i]:
            mem.seek(r.start + i * page)
            parts.append(mem.read(n * page))
        i += n
    return b"".join(parts)


def is_dumped(r):
    return "dd" not in r.flags


def none_of(found):
    if found:
        lines = "\n".join(f"    {name}: {region}" for name, region in sorted(found.items()))
        raise AssertionError(f"{len(found)} found\n{lines}")


def open_clients(relay, secrets):
    """Three of each kind, all of which have sent and received; the second changed keys twice, the third three times and asked for the same."""
    clients = []
    for minor, cipher in CIPHERS:
        for updates in (0, 2, 3):
            c = Client(relay.addr, minor, cipher)
            clients.append(c)
            c.derp.login()
            for i in range(updates + 1):
                name = f"{cipher} in TLS 1.{minor - 1}, client {updates}, generation {i}"
                secrets.update({f"{name}: {k}": v for k, v in c.secrets().items()})
                c.send(c.ping())
                if c.outcome() != "alive":
                    fail(f"{name} is not alive")
                if i < updates and c.tls13:
                    c.send(c.key_update(updates == 3))
    return clients


def close_all(relay, clients):
    for c in clients:
        c.send(c.seal(ALERT, CLOSE_NOTIFY))
        c.outcome()
        c.close()
    until("all connections to end", lambda: relay.metrics()["xderp_tls13_active"] + relay.metrics()["xderp_tls12_active"] == 0)


def check_live(relay, secrets):
    """No core would have them. They are there all the same, or the search would prove nothing."""
    pid = relay.process.pid
    none_of(search(pid, secrets, is_dumped))
    there = search(pid, secrets, lambda r: not is_dumped(r))
    if not any("server key" in name for name in there):
        fail("nor are keys found where they should be")
    none_of({name: r for name, r in there.items() if is_ours(name) and " lo " not in r})


def is_ours(name):
    """A secret of a connection that OpenSSL does not keep: in locked memory only."""
    return record_kind() != "openssl" and "TLS 1.3" in name


def check_core(relay, secrets):
    """What the kernel itself writes, registers included."""
    with open("/proc/sys/kernel/core_pattern") as f:
        pattern = f.read().strip()
    if pattern.startswith("|"):
        return print("no core: the kernel pipes it elsewhere")
    pid = relay.process.pid
    os.kill(pid, signal.SIGABRT)
    relay.process.wait(PATIENCE)
    names = [pattern, f"{pattern}.{pid}"] if "/" in pattern else [f"{relay.dir}/{pattern}", f"{relay.dir}/{pattern}.{pid}"]
    name = next((n for n in names if os.path.exists(n)), None) or fail(f"no core at {' or '.join(names)}")
    with open(name, "rb") as f:
        text = f.read()
    os.unlink(name)
    if text[:4] != b"\x7fELF" or len(text) < 1 << 20:
        fail(f"{name} is no core")
    none_of({name: "core" for name in occurring(secrets, text)})


def main():
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
    # Who has changed users gets no core from the kernel.
    relay, bad, secrets = Relay("--user=" + pwd.getpwuid(os.getuid()).pw_name), 0, {}
    try:
        clients = open_clients(relay, secrets)
        print(f"{len(clients)} clients, {len(secrets)} secrets")
        bad += afterwards("live: not in what a core would hold", check_live, relay, secrets)
        close_all(relay, clients)
        bad += afterwards("closed: nowhere", lambda: none_of(search(relay.process.pid, secrets, lambda r: True)))
        clients = open_clients(relay, secrets)
        bad += afterwards("core: not in it", check_core, relay, secrets)
    finally:
        relay.remove()
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
