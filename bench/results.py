# SPDX-License-Identifier: Apache-2.0
"""Reads what the benchmark programs write with --benchmark_out=FILE."""
import collections
import json
import re
import statistics

NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
PROBE_CASES = ("call/", "throw/", "attach/")


class Figure:
    """A median between quartiles."""

    def __init__(self, low, median, high):
        self.low, self.median, self.high = low, median, high

    @classmethod
    def of(cls, values):
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, median, high = statistics.quantiles(values, n=4,
                                                 method="inclusive")
        return cls(low, median, high)

    def __sub__(self, other):
        return Figure(self.low - other.high, self.median - other.median,
                      self.high - other.low)

    def __truediv__(self, other):
        if other.low <= 0:
            return Figure(0, self.median / other.median if other.median else
                          float("inf"), float("inf"))
        return Figure(self.low / other.high, self.median / other.median,
                      self.high / other.low)

    def __mul__(self, factor):
        return Figure(self.low * factor, self.median * factor,
                      self.high * factor)

    def __str__(self):
        return f"{number(self.median):>9}  {number(self.low)} .. " \
               f"{number(self.high)}"


def number(x):
    if x == 0 or 0.01 <= abs(x) < 100:
        return f"{x:.3g}"
    return f"{x:.2g}" if abs(x) < 0.01 else f"{x:.0f}"


def _samples(run):
    """Yields (what, value) of one repetition; "" is ns per operation.

    Probes: processor time, which a neighbour on the machine does not change.
    Pools: wall time of a thread, since some of them make their callers wait;
    the median of the parts of the repetition, where the benchmark says it.
    """
    threads = run.get("threads", 1)
    unit = NS[run["time_unit"]]
    if run["name"].startswith(("call/", "throw/")):
        yield "", run["cpu_time"] * unit
    elif "median_ns" in run:
        ns = run["median_ns"]
        yield "", ns
        if run["hit_rate"] > 0:  # else it is `empty`
            yield "ns_per_hit", ns / run["hit_rate"]
    else:
        # The benchmark library divides it by all threads' operations.
        yield "", run["real_time"] * unit * threads
    for counter in ("bytes_per_probe", "bytes_beyond_objects", "hit_rate",
                    "hit_rate_at_once", "hit_ns", "miss_ns"):
        if counter in run:
            yield counter, run[counter]


def read(path):
    """Returns {case: Figure}, context of one result file.

    A case is "SCENARIO/POOL/threads:N", in ns per operation of one thread, and
    "SCENARIO/POOL/threads:N COUNTER" for what else it counts.
    """
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    samples = collections.defaultdict(list)
    for run in result["benchmarks"]:
        if run.get("run_type") != "iteration" or "error_message" in run:
            continue
        name = re.sub(r"/(real_time|manual_time|process_time"
                      r"|iterations:\d+|repeats:\d+)", "", run["name"])
        for what, value in _samples(run):
            samples[f"{name} {what}".rstrip()].append(value)
    cases = {name: Figure.of(values) for name, values in samples.items()}
    return cases, result["context"]


def taken_by_others(path):
    """The part of the time in which other programs had our CPU; or None.

    From cases of one thread that never wait for anybody.
    """
    with open(path, encoding="utf-8") as file:
        runs = json.load(file)["benchmarks"]
    parts = [1 - run["cpu_time"] / run["real_time"] for run in runs
             if run.get("run_type") == "iteration" and
             re.fullmatch(r"(ideal|bulk)/.*/threads:1", run["name"]) and
             run.get("real_time", 0) > 0]
    return statistics.mean(parts) if parts else None


def pool_case(name):
    """(scenario, pool, variant) of a pool's case, or None."""
    if name.startswith(PROBE_CASES + ("memory/",)) or " " in name:
        return None
    scenario, pool, variant = name.split("/", 2)
    return scenario, pool, variant
