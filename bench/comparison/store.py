# SPDX-License-Identifier: BSD-3-Clause
"""Every run, one line of runs.jsonl each: written when it ends, so that what was broken off goes on where it was."""

import json
import os
import statistics

from comparison.cells import NET, OWN

OTHER_LIMIT = 15	# per cent of one processor used by neither server nor generator nor kernel threads

class Store:
    def __init__(self, directory):
        self.directory = directory
        self.path = f"{directory}/runs.jsonl"
        self.facts, self.runs = None, {}
        os.makedirs(directory, exist_ok=True)
        if os.path.exists(self.path):
            with open(self.path) as f:
                for line in f:
                    self.take(json.loads(line))

    def take(self, line):
        if "facts" in line:
            self.facts = line["facts"]
        else:
            self.runs[line["cell"], line["who"], line["round"]] = line

    def add(self, line):
        self.take(line)
        with open(self.path, "a") as f:
            f.write(json.dumps(line) + "\n")

    def is_done(self, cell, who, r):
        return "fault" not in self.runs.get((cell.id, who, r), {"fault": "not run"})

    def rounds(self, cell_id):
        return sorted({r for c, _, r in self.runs if c == cell_id})

    def faults(self, cell_id, who):
        return [x["fault"] for (c, w, _), x in sorted(self.runs.items()) if c == cell_id and w == who and "fault" in x]

    def value(self, cell_id, who, r, key):
        """None: there is none."""
        run = self.runs.get((cell_id, who, r))
        if not run or "fault" in run:
            return None
        res = run["results"]
        if key == NET:
            if self.has_neighbours(cell_id, who, r) or self.has_neighbours(cell_id, "direct", r):
                return None
            return self.less_direct(cell_id, who, r, lambda x: x["machine_cpu_each"])
        if key == OWN:
            return self.less_direct(cell_id, who, r, lambda x: x["server_cpu_each"] + x["generator_cpu_each"] + x["kernel_cpu_each"])
        if key == "start_mib":
            return res["rss_start"] / 1024
        if key == "anon_kib_each":
            return res["anon_each"] / 1024
        if key == "logins_per_cpu_second":
            return 1e6 / res["server_cpu_each"]
        return res.get(key)

    def has_neighbours(self, cell_id, who, r):
        return self.runs.get((cell_id, who, r), {"results": {}})["results"].get("other_cpu", 0) > OTHER_LIMIT

    def less_direct(self, cell_id, who, r, of):
        direct = self.runs.get((cell_id, "direct", r))
        if not direct or "fault" in direct:
            return None
        return of(self.runs[cell_id, who, r]["results"]) - of(direct["results"])

    def values(self, cell_id, who, key):
        each = [self.value(cell_id, who, r, key) for r in self.rounds(cell_id)]
        return [v for v in each if v is not None]

    def median(self, cell_id, who, key):
        each = self.values(cell_id, who, key)
        return statistics.median(each) if each else None

    def ratios(self, cell_id, key, a="xderpd", b="derper"):
        """Of each round: both were exposed to the same."""
        each = [(self.value(cell_id, a, r, key), self.value(cell_id, b, r, key)) for r in self.rounds(cell_id)]
        return [x / y for x, y in each if x is not None and y]
