#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds benchmark results against what is asked of them.

usage: compare.py [--strict] RESULT.json...

RESULT.json is what rethook_bench and objpool_bench write with
--benchmark_out=FILE --benchmark_repetitions=N. Prints the median of the
repetitions of each case with their quartiles, then each target with the figure
seen. A ratio's spread pairs the lower quartile of one side with the upper
quartile of the other. A target whose cases were not run is left out, and said
so.

exit status: 0; with --strict 1 when a target was missed
"""
import collections
import json
import re
import statistics
import sys

NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


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
            return Figure(0, self.median / other.median, float("inf"))
        return Figure(self.low / other.high, self.median / other.median,
                      self.high / other.low)

    def __mul__(self, factor):
        return Figure(self.low * factor, self.median * factor,
                      self.high * factor)

    def __str__(self):
        return f"{number(self.median):>9}  {number(self.low)} .. " \
               f"{number(self.high)}"


def number(x):
    return f"{x:.3g}" if abs(x) < 100 else f"{x:.0f}"


def read(paths):
    """Returns {case: Figure in ns per operation of one thread}, context.

    Probes: processor time, which a neighbour on the machine does not change.
    Pools: wall time, since some of them make their callers wait.
    """
    samples = collections.defaultdict(list)
    context = {}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
        context.update(result["context"])
        for run in result["benchmarks"]:
            if run.get("run_type") != "iteration" or "error_message" in run:
                continue
            name = re.sub(r"/(real_time|manual_time|process_time"
                          r"|iterations:\d+|repeats:\d+)", "", run["name"])
            threads = run.get("threads", 1)
            time = run["cpu_time"]
            if not name.startswith(("call/", "throw/")):
                # The benchmark library divides it by all threads' operations.
                time = run["real_time"] * threads
            samples[name].append(time * NS[run["time_unit"]])
            if "bytes_per_probe" in run:
                samples[name + "/bytes"].append(run["bytes_per_probe"])
    return {name: Figure.of(s) for name, s in samples.items()}, context


def first(cases, *names):
    """The first of `names` that was run."""
    return next((cases[n] for n in names if n in cases), None)


def worst(figures):
    figures = [f for f in figures if f is not None]
    return max(figures, key=lambda f: f.median) if figures else None


def ratio(a, b):
    return a / b if a and b else None


def targets(cases):
    """Yields (what, limit, Figure or None)."""
    unprobed = cases.get("call/unprobed")

    def added(*names):
        case = first(cases, *names)
        return None if case is None or unprobed is None else case - unprobed

    none = added("call/no_handler")
    alone = added("call/return/vectors_alone")
    seen = added("call/return/seen")
    sse = added("call/return/sse")
    vectors = added("call/return/all_vectors")
    xray = added("call/xray")
    kernel = [added(n) for n in cases if n.startswith("call/uretprobe/")]
    kernel = min((k for k in kernel if k), key=lambda k: k.median,
                 default=None)
    yield "no handler, of XRay", 0.35, ratio(none, xray)
    yield "return handler, vectors alone, of XRay", 0.50, ratio(alone, xray)
    yield "return handler, its code read, of XRay", 0.80, ratio(seen, xray)
    yield "return handler, SSE kept, of XRay", 0.80, ratio(sse, xray)
    yield "return handler, all vectors kept, of XRay", 0.80, ratio(vectors,
                                                                   xray)
    yield ("dearest of these, of the cheapest uretprobe", 1 / 50,
           ratio(worst([none, alone, seen, sse, vectors]), kernel))
    for case in ("call/no_handler", "call/return/vectors_alone",
                 "call/return/all_vectors"):
        yield (f"{case[5:]}, 2 threads on it, of 1", 1.15,
               ratio(cases.get(case + "/threads:2"), cases.get(case)))
    yield ("throw through 10 probed frames, of unprobed", 2,
           ratio(worst([cases.get("throw/no_handler"),
                        cases.get("throw/return")]),
                 cases.get("throw/unprobed")))
    attach = cases.get("attach/10000")
    yield ("attaching 10,000 functions, s", 2,
           attach * 1e-9 if attach else None)
    yield "memory per probe, bytes", 512, cases.get("attach/10000/bytes")
    for threads in (1, 2):
        ours, malloc, ring = (
            first(cases, *(f"ideal/{pool}/threads:{threads}" for pool in pools))
            for pools in (("retprobe", "objpool"), ("malloc",),
                          ("kernel_ring", "kernel")))
        yield (f"pool pop + push, {threads} thread(s), of malloc + free", 0.5,
               ratio(ours, malloc))
        yield (f"pool pop + push, {threads} thread(s), of the kernel's ring",
               0.2, ratio(ours, ring))


def main():
    arguments = sys.argv[1:]
    strict = "--strict" in arguments
    paths = [a for a in arguments if a != "--strict"]
    if not paths or any(a.startswith("-") for a in paths):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    cases, context = read(paths)
    unprobed = cases.get("call/unprobed")
    width = max((len(name) for name in cases), default=0)
    print(f"{'case':<{width}}  ns, median  quartiles")
    for name, figure in sorted(cases.items()):
        added = ""
        if unprobed and name.startswith("call/") and "threads" not in name:
            added = f"   adds {number((figure - unprobed).median)}"
        print(f"{name:<{width}}   {figure}{added}")

    print(f"\n{'target':<52} {'at most':>8} {'seen':>9}  spread")
    missed, left_out = 0, []
    for what, limit, figure in targets(cases):
        if figure is None:
            left_out.append(what)
            continue
        met = figure.median <= limit
        missed += not met
        print(f"{what:<52} {number(limit):>8} {figure}  "
              f"{'met' if met else 'MISSED'}")
    if left_out:
        print("not measured: " + "; ".join(left_out))
    if context.get("left_out", "nothing") != "nothing":
        print("left out: " + context["left_out"])
    return 1 if strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
