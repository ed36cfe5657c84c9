#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""The gate of bench/cost without its virtual machine: what passes, what fails, and what is measured again."""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import sys

BENCH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "bench")
sys.path.insert(0, BENCH)
sys.dont_write_bytecode = True

LOADER = importlib.machinery.SourceFileLoader("cost", f"{BENCH}/cost")
cost = importlib.util.module_from_spec(importlib.util.spec_from_loader("cost", LOADER))
LOADER.exec_module(cost)

FACTS, ROWS = cost.read_baseline()
TLS = "tls", "1200 B, w=16, equal batching"
ONE = "tls", "1200 B, w=1"
PLAIN = "plain", "1200 B, w=16, equal batching"

# name, what each run of a cell costs more than the baseline in per cent (other cells: nothing), status, runs of that cell
ROWS_OF_TEST = [
    ("nothing changed", TLS, [0], 0, 1),
    ("3 % dearer", TLS, [3, 3, 3], 1, 3),
    ("3 % dearer, with what repeats differ by", TLS, [2.6, 4.4, 3.1], 1, 3),
    ("3 % dearer and a lucky run", ONE, [2.4, 3.2, 3], 1, 3),
    ("an unlucky run", TLS, [2.9, 0.1, -0.2], 0, 2),
    ("cheaper", TLS, [-5], 0, 1),
    ("plain at equal batching as unlucky as seen", PLAIN, [2.5], 0, 1),
    ("plain at equal batching, 6 % dearer", PLAIN, [8, 4, 6], 1, 3),
]


def gate(key, percent):
    """Status of the gate and the number of runs of that cell, if each of them costs so much more than the baseline."""
    seeds = []

    def run(opt, lines, timeout_s, more=()):
        names = [(t[0], cost.load_name(x)) for t, x in cost.cells(opt, cost.transports(opt))] if not seeds else [key]
        seeds.append(more[1])
        for i, name in enumerate(names):
            extra = percent[len(seeds) - 1] if name == key else 0
            yield i, {"server_cpu_each": ROWS[name][0] * (1 + extra / 100) / 1000, "lost": 0, "delivered": 1}, {"kernel_threads": 0}

    cost.guest.run, cost.environment = run, lambda opt: dict(FACTS)
    cost.transports = lambda opt: [t for t in cost.TRANSPORTS if t[0] in ("plain", "tls")]
    sys.argv = ["cost", "--quick"] + [f"--{x}=/bin/true" for x in ("xderpd", "derper", "bench")]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = cost.main()
    assert len(set(seeds)) == len(seeds), f"seeds {seeds}"
    return status, len(seeds)


def main():
    bad = 0
    for name, key, percent, status, runs in ROWS_OF_TEST:
        got = gate(key, percent)
        if got != (status, runs):
            print(f"FAILED: cost, {name}: status and runs {got}, want {(status, runs)}")
            bad = 1
    if not bad:
        print("ok: the gate of bench/cost")
    return bad


if __name__ == "__main__":
    sys.exit(main())
