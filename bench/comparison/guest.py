# SPDX-License-Identifier: BSD-3-Clause
"""Runs relays and xderp-bench in tools/vm, whose clock counts instructions: bench/cost-guest."""

import json
import subprocess
import sys
import tempfile

from comparison import relays


def command(kind, tls, more=()):
    """The relay's command line in the guest."""
    return [f"/{kind}"] + relays.flags(kind, "127.0.0.1:3340", f"/keys/{kind}", "/certs" if tls else None) + list(more)


def run(opt, cells, timeout_s, more=()):
    """cells: (command of the relay, arguments of the generator, netem or ""), words by blanks. Yields, in order, each one's
    (index, result, counters). more: further arguments of tools/vm. Raises SystemExit: 125 if there is no machine to be had."""
    with tempfile.NamedTemporaryFile("w", prefix="cells-") as f:
        for i, (relay, load, netem) in enumerate(cells):
            f.write("\t".join([str(i), relay, load] + ([netem] if netem else [])) + "\n")
        f.flush()
        top = relays.TOP
        args = [f"{top}/tools/vm", "-i", "0", "-a", "norandmaps", "-t", str(timeout_s), *more]
        for name in (f"{top}/bench/cost-guest:/cost-guest", f"{f.name}:/cells", f"{opt.bench}:/xderp-bench",
                     f"{opt.xderpd}:/xderpd", f"{opt.derper}:/derper", "/usr/bin/openssl", "/usr/bin/chrt"):
            args += ["-f", name]
        vm = subprocess.Popen(args + ["--", "/bin/sh", "/cost-guest"], stdout=subprocess.PIPE, text=True)
        yield from parse(vm.stdout)
        status = vm.wait()
    if status:
        sys.exit(125 if status == 125 else 1)


def parse(lines):
    text, counters, cell = "", {}, None
    for line in lines:
        word = line.split()
        if word[:1] == ["cell"]:
            cell, text, counters = int(word[1]), "", {}
        elif word[:1] == ["counter"]:
            counters[word[1]] = int(float(word[2]))
        elif word == ["end"]:
            yield cell, json.loads(text)["results"], counters
        else:
            text += line
