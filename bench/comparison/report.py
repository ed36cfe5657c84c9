# SPDX-License-Identifier: BSD-3-Clause
"""The report: what was expected and what was measured, tables, plots."""

import statistics

from comparison import svg
from comparison.cells import EXPECTED, NET, OWN
from comparison.store import OTHER_LIMIT

BOUND_LIMIT = 95	# per cent of its processor used by the generator: it, not the server, set the pace
RELAYS = ("xderpd", "derper", "floor")


def number(v, digits=2):
    return "-" if v is None else f"{v:,.{digits}f}"


def spread(each):
    return f"{statistics.median(each):.2f} ({min(each):.2f}..{max(each):.2f})" if each else "-"


def slashed(store, cell, key, digits=2, scale=1.0, who=RELAYS):
    each = [store.median(cell.id, w, key) for w in who if w in cell.who]
    return " / ".join(number(None if v is None else v / scale, digits) for v in each)


def notes(store, cell):
    ret = []
    for who in cell.who:
        faults = store.faults(cell.id, who)
        if faults:
            ret.append(f"**{who}: {len(faults)} void: {' '.join(faults[0].split())[:120]}**")
        other = store.values(cell.id, who, "other_cpu")
        if other and max(other) > OTHER_LIMIT:
            ret.append(f"{who}: other CPU up to {max(other):.0f} %")
        if store.median(cell.id, who, "generator_bound") or (
                who != "direct" and cell.kind == "cost" and (store.median(cell.id, who, "generator_cpu") or 0) > BOUND_LIMIT):
            ret.append(f"{who}: generator-bound")
        if cell.kind == "cost" and (store.median(cell.id, who, "lost") or 0) > 0:
            ret.append(f"{who}: {store.median(cell.id, who, 'lost_share'):.3f} % lost")
    return "; ".join(ret)


def table(title, head, rows):
    if not rows:
        return []
    return [f"## {title}", "", "| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + \
        ["| " + " | ".join(r) + " |" for r in rows] + [""]


def expectation_row(store, cells, e):
    cell = next(c for c in cells if c.id == e.cell)
    key, remark = e.key, ""
    if key == NET and not store.ratios(e.cell, NET) and store.ratios(e.cell, OWN):
        key, remark = OWN, ", of processes alone: neighbours were at work"
    each = store.values(e.cell, "xderpd", key) if e.alone else store.ratios(e.cell, key)
    # The generator gave out before xderpd did: what was measured is a lower bound, which can prove but not disprove.
    bound = e.key == "loss_free_rate" and store.median(e.cell, "xderpd", "generator_bound")
    mid = statistics.median(each) if each else None
    if mid is None:
        verdict = "not measured"
    elif mid <= e.limit if e.better == "<=" else mid >= e.limit:
        verdict = "met"
    else:
        verdict = "not shown: generator-bound" if bound else "**not met**"
    floor = store.median(e.cell, "floor", key)
    base = store.median(e.cell, "derper", key)
    of = "" if e.alone else " of derper's"
    digits = 0 if (base or 0) >= 1000 else 2
    return [cell.title, e.what, f"{'at most' if e.better == '<=' else 'at least'} {e.limit:g} {e.unit}{of}".replace("  ", " "),
            ("at least " if bound else "") + spread(each), verdict + remark, slashed(store, cell, key, digits),
            number(floor / base) if floor is not None and base else "-"]


def latencies(store, cell, who=RELAYS):
    return " / ".join(", ".join(number(store.median(cell.id, w, f"latency_{p}"), 0) for p in ("p50", "p99"))
                      for w in who if w in cell.who)


def cost_row(store, cell):
    return [cell.title, slashed(store, cell, NET), spread(store.ratios(cell.id, NET)),
            slashed(store, cell, OWN), spread(store.ratios(cell.id, OWN)), slashed(store, cell, "server_cpu_each"),
            spread(store.ratios(cell.id, "server_cpu_each")), slashed(store, cell, "packets_per_second", 0, 1e3),
            latencies(store, cell), slashed(store, cell, "server_cpu", 0), slashed(store, cell, "packets_per_read", 1),
            notes(store, cell)]


def rate_row(store, cell):
    return [cell.title, slashed(store, cell, "loss_free_rate", 1, 1e3), spread(store.ratios(cell.id, "loss_free_rate")),
            slashed(store, cell, "server_cpu", 0), slashed(store, cell, "generator_cpu", 0), latencies(store, cell),
            notes(store, cell)]


def latency_row(store, cell):
    return [cell.title] + [slashed(store, cell, f"latency_{p}", 0) for p in ("p50", "p90", "p95", "p99", "p999")] + \
        [spread(store.ratios(cell.id, "latency_p50")), spread(store.ratios(cell.id, "latency_p99")),
         slashed(store, cell, "packets_per_second", 0), slashed(store, cell, "server_cpu_each"),
         slashed(store, cell, "generator_cpu", 0), slashed(store, cell, "generator_lag_p99", 0), notes(store, cell)]


def idle_row(store, cell):
    return [cell.title, slashed(store, cell, "start_mib", 1), slashed(store, cell, "anon_start", 1, 1024),
            slashed(store, cell, "rss_before", 1, 1024), slashed(store, cell, "anon_kib_each", 1),
            spread(store.ratios(cell.id, "anon_kib_each")), slashed(store, cell, "rss_each", 1, 1024),
            slashed(store, cell, "login_server_cpu_each", 0), slashed(store, cell, "idle_server_cpu", 2), notes(store, cell)]


def storm_row(store, cell):
    return [cell.title, slashed(store, cell, "logins_per_cpu_second", 0), spread(store.ratios(cell.id, "logins_per_cpu_second")),
            slashed(store, cell, "logins_per_second", 0), slashed(store, cell, "logins_failed", 0), latencies(store, cell),
            notes(store, cell)]


def scenario_row(store, cell):
    return [cell.title] + [slashed(store, cell, k, d, s) for k, d, s in (
        ("packets_per_second", 0, 1), ("lost_share", 3, 1), ("latency_p50", 0, 1), ("latency_p95", 0, 1), ("latency_p99", 0, 1),
        ("server_cpu_each", 2, 1), ("server_rss", 1, 1024))] + [notes(store, cell)]


TABLES = [
    ("cost", "CPU per packet, closed loop", cost_row, [
        "load", "whole machine less direct, us per packet", "ratio (range)", "of it processes and kernel threads, us",
        "ratio (range)",
        "server alone, us per packet", "ratio (range)", "thousand packets/s", "latency p50, p99 in us", "server busy, %",
        "packets per read", "notes"]),
    ("rate", "Highest loss-free rate", rate_row, [
        "load", "thousand packets/s", "ratio (range)", "server busy, %", "generator busy, %", "latency p50, p99 in us", "notes"]),
    ("latency", "Latency, us", latency_row, [
        "load", "p50", "p90", "p95", "p99", "p99.9", "p50: ratio (range)", "p99: ratio (range)", "packets/s",
        "server CPU, us per packet", "generator busy, %", "its own delay, p99", "notes"]),
    ("idle", "Memory", idle_row, [
        "load", "resident at start, MiB", "of it the process's own, MiB", "resident after a login, MiB", "the process's own, KiB per peer", "ratio (range)", "resident, KiB per peer",
        "server CPU per login, us", "server busy when idle, %", "notes"]),
    ("storm", "Logins", storm_row, [
        "load", "logins per CPU second of the server", "ratio (range)", "logins/s", "failed", "latency p50, p99 in us", "notes"]),
    ("scenario", "Scenarios, open loop", scenario_row, [
        "scenario", "packets/s", "lost, %", "p50, us", "p95, us", "p99, us", "server CPU, us per packet", "resident, MiB",
        "notes"]),
]

PLOTS = [
    ("cpu", "CPU per packet, processes and kernel threads less direct", "us, less is better", "cost", [(OWN, "")], False),
    ("server-cpu", "CPU per packet, server alone", "us, less is better", "cost", [("server_cpu_each", "")], False),
    ("rate", "Highest loss-free rate on one core", "packets/s, more is better", "rate", [("loss_free_rate", "")], False),
    ("latency", "Latency", "us, less is better, logarithmic", "latency",
     [(f"latency_{p}", f", {n}") for p, n in (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"))], True),
    ("scenarios", "Latency by scenario", "us, less is better, logarithmic", "scenario",
     [(f"latency_{p}", f", {p}") for p in ("p50", "p95", "p99")], True),
]


def plots(store, cells):
    """Writes them; returns lines of Markdown."""
    ret = []
    for name, title, unit, kind, keys, logarithmic in PLOTS:
        groups = [(c.title + suffix, [(w, store.values(c.id, w, key)) for w in RELAYS if w in c.who])
                  for c in cells if c.kind == kind for key, suffix in keys]
        text = svg.bars(title, unit, groups, logarithmic)
        if text:
            with open(f"{store.directory}/{name}.svg", "w") as f:
                f.write(text)
            ret += [f"![{title}]({name}.svg)", ""]
    return ret


def write(store, known, seconds):
    """report.md and its plots, of those cells that have runs; returns the text."""
    seen = {c for c, _, _ in store.runs}
    cells = [c for c in known if c.id in seen]
    text = ["# xderpd against derper", ""]
    text += [f"- {k}: {v}" for k, v in store.facts.items()] + [f"- time taken: {seconds / 60:.1f} minutes", ""]
    text += ["Numbers between slashes: xderpd / derper / floor, medians of the rounds. A ratio is xderpd to derper within one round: "
             "median (smallest..largest). *floor* receives and sends the same bytes and opens and seals each TLS record, without "
             "DERP; *direct* is the generator without a relay. [How to read it](../../README.md).", ""]
    if any(c.kind != "scenario" for c in cells):
        text += table("Expected and measured", ["load", "figure", "expected", "measured", "", "xderpd / derper / floor",
                                                "floor, of derper's"], [expectation_row(store, known, e) for e in EXPECTED])
    for kind, title, row, head in TABLES:
        text += table(title, head, [row(store, c) for c in cells if c.kind == kind])
    text += plots(store, cells)
    with open(f"{store.directory}/report.md", "w") as f:
        f.write("\n".join(text))
    return "\n".join(text)
