# SPDX-License-Identifier: BSD-3-Clause
"""What is measured, and what is expected of it."""

from dataclasses import dataclass, field

BOTH = ("xderpd", "derper")
WITH_FLOOR = ("xderpd", "derper", "floor", "direct")	# direct: no relay; what it costs is subtracted
TRAFFIC = "1,400 B"
COST_SLICES = 3		# what is subtracted must have seen the same machine: neighbours come and go within seconds


@dataclass
class Cell:
    id: str
    title: str
    tls: bool
    args: list
    who: tuple = BOTH
    kind: str = "cost"		# cost, rate, latency, idle, storm, scenario
    limit_s: int = 60		# a run that takes longer is void
    rounds: int = 0		# at most; 0: as many as there are
    slices: int = 1		# short runs that a round is cut into, each of them a round of its own in the results
    half_of: str = ""		# cell whose rate of derper, halved, is the rate of this one
    netem: str = ""
    guest: bool = False		# measured in the virtual machine
    timed: bool = field(default=True)	# takes --duration and --warmup


def cost(size, pairs, burst=1, tls=True):
    name = f"{'TLS' if tls else 'plain'} {size:,} B, {pairs} pairs" + (f", bursts of {burst}" if burst > 1 else "")
    return Cell(f"cost-{'tls' if tls else 'plain'}-{size}-{pairs}-{burst}", name, tls,
                ["--size", str(size), "--pairs", str(pairs), "--burst", str(burst), "--window", "16"], WITH_FLOOR, slices=COST_SLICES)


def rate(burst):
    name = f"TLS {TRAFFIC}, 10 pairs, " + (f"bursts of {burst}" if burst > 1 else "one by one")
    return Cell(f"rate-{burst}", name, True, ["--size", "1400", "--pairs", "10", "--burst", str(burst), "--search"],
                kind="rate", limit_s=120)


def expected_cells(idle, storm):
    """In the order in which they are measured."""
    return [
        cost(1400, 10), cost(1400, 100), cost(64, 10), cost(64, 100), cost(8000, 10), cost(8000, 100),
        cost(1400, 10, tls=False), cost(1400, 100, tls=False),
        cost(1400, 10, 8), cost(1400, 10, 16), cost(1400, 10, 8, False), cost(1400, 10, 16, False),
        rate(1), rate(8),
        Cell("half", f"TLS {TRAFFIC}, 10 pairs, half of derper's highest rate", True, ["--size", "1400", "--pairs", "10"],
             kind="latency", half_of="rate-1", slices=2),
        Cell("pingpong", f"TLS {TRAFFIC}, one packet in flight", True, ["--pingpong"], ("xderpd", "derper", "floor"),
             kind="latency"),
        Cell("pingpong-plain", f"plain {TRAFFIC}, one packet in flight", False, ["--pingpong"], ("xderpd", "derper", "floor"),
             kind="latency"),
        Cell("storm", f"TLS, {storm:,} logins and logouts", True, ["--storm", str(storm)], kind="storm", timed=False),
        Cell("storm-plain", f"plain, {storm:,} logins and logouts", False, ["--storm", str(storm)], kind="storm", timed=False),
        Cell("idle", f"TLS, {idle:,} idle", True, ["--idle", str(idle), "--duration", "1", "--warmup", "0.3"], kind="idle",
             limit_s=180, rounds=1, timed=False),
        Cell("one-percent", f"TLS {TRAFFIC}, {idle // 200} pairs talk, {idle - idle // 100:,} more are connected", True,
             ["--size", "1400", "--pairs", str(idle // 200), "--idle", str(idle - idle // 100), "--window", "16"],
             limit_s=180, rounds=1),
    ]


def scenarios(steady):
    """Open loop. netem is not in every kernel: those scenarios, and one without it to compare with, run in the guest, where a
    second is 10^9 instructions and one processor does everything: at a rate for that."""
    def one(name, title, args, netem="", guest=False):
        return Cell(f"scenario-{name}", title, True, ["--size", "1400"] + args, kind="scenario", netem=netem, guest=guest,
                    timed=not guest)

    guest = ["--pairs", "10", "--rate", "500", "--duration", "6", "--warmup", "1"]
    return [
        one("baseline", "baseline: 1 pair, 100 packets/s", ["--pairs", "1", "--rate", "100"]),
        one("steady", f"steady: 10 pairs, {steady:,} packets/s", ["--pairs", "10", "--rate", str(steady)]),
        one("burst", f"burst: the same in bursts of 32", ["--pairs", "10", "--rate", str(steady), "--burst", "32"]),
        one("guest", "10 pairs, 500 packets/s, no netem", guest, guest=True),
        one("loss-1", "the same, 1 % loss", guest, "loss 1%", True),
        one("loss-3", "the same, 3 % loss", guest, "loss 3%", True),
        one("wan", "the same, WAN: 50 ms from end to end", guest, "delay 25ms", True),
    ]


@dataclass
class Expectation:
    """Either ratio (xderpd to derper in the same round) or xderpd alone against limit; better: which side of it is good."""
    cell: str
    what: str
    key: str
    limit: float
    better: str = "<="
    alone: bool = False
    unit: str = ""


NET = "net_cpu_each"	# whole machine less direct, us per packet; none if neighbours were at work
OWN = "own_cpu_each"	# the same of server, generator and kernel threads: without neighbours, and without interrupts while idle

EXPECTED = [
    *(Expectation(f"cost-tls-1400-{n}-1", "CPU per packet", NET, 0.55) for n in (10, 100)),
    *(Expectation(f"cost-tls-64-{n}-1", "CPU per packet", NET, 0.70) for n in (10, 100)),
    *(Expectation(f"cost-tls-8000-{n}-1", "CPU per packet", NET, 0.40) for n in (10, 100)),
    *(Expectation(f"cost-plain-1400-{n}-1", "CPU per packet", NET, 0.60) for n in (10, 100)),
    *(Expectation(f"cost-tls-1400-10-{b}", "CPU per packet", NET, 0.25) for b in (8, 16)),
    *(Expectation(f"cost-plain-1400-10-{b}", "CPU per packet", NET, 0.17) for b in (8, 16)),
    Expectation("rate-8", "highest loss-free rate", "loss_free_rate", 2.5, ">="),
    Expectation("rate-1", "highest loss-free rate", "loss_free_rate", 1.5, ">="),
    Expectation("half", "latency p50", "latency_p50", 1.0),
    Expectation("half", "latency p99", "latency_p99", 0.5),
    Expectation("pingpong", "latency p50", "latency_p50", 0.8),
    Expectation("pingpong-plain", "latency p50", "latency_p50", 0.8),
    Expectation("idle", "memory at start", "start_mib", 8, alone=True, unit="MiB"),
    Expectation("idle", "user memory per idle TLS peer", "anon_kib_each", 8, alone=True, unit="KiB"),
    *(Expectation(c, "logins per CPU second", "logins_per_cpu_second", 2.0, ">=") for c in ("storm", "storm-plain")),
]
