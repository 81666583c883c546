#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds benchmark results against what is asked of them.

usage: compare.py [--strict] RESULT.json...

RESULT.json is what rethook_bench and objpool_bench write with
--benchmark_out=FILE --benchmark_repetitions=N. Prints the median of the
repetitions of each case with their quartiles, then each target with the figure
seen. Ratios are of medians within one file, that is one run; a ratio's spread
pairs the lower quartile of one side with the upper quartile of the other. A
target whose cases were not run is left out, and said so.

exit status: 0; with --strict 1 when a target was missed
"""
import collections
import re
import sys

import results
from results import number

MALLOCS = ("malloc", "jemalloc", "mimalloc", "tbbmalloc")
SHARED_PEERS = ("ck_ring", "ck_stack", "moodycamel", "boost_queue",
                "boost_stack", "tbb_queue")
# Of 65,536 objects for 256 CPUs.
MEMORY_LIMIT = 2 << 20


def ratio(a, b):
    return a / b if a and b else None


def extreme(figures, choose):
    figures = [f for f in figures if f is not None]
    return choose(figures, key=lambda f: f.median) if figures else None


def worst(figures):
    return extreme(figures, max)


def best(figures):
    return extreme(figures, min)


def probe_targets(cases):
    unprobed = cases.get("call/unprobed")

    def added(name):
        case = cases.get(name)
        return None if case is None or unprobed is None else case - unprobed

    none = added("call/no_handler")
    alone = added("call/return/vectors_alone")
    seen = added("call/return/seen")
    sse = added("call/return/sse")
    vectors = added("call/return/all_vectors")
    xray = added("call/xray")
    kernel = best(added(n) for n in cases if n.startswith("call/uretprobe/"))
    yield "no handler, of XRay", "<=", 0.35, ratio(none, xray)
    yield "return handler, vectors alone, of XRay", "<=", 0.50, ratio(alone,
                                                                      xray)
    yield "return handler, its code read, of XRay", "<=", 0.80, ratio(seen,
                                                                      xray)
    yield "return handler, SSE kept, of XRay", "<=", 0.80, ratio(sse, xray)
    yield ("return handler, all vectors kept, of XRay", "<=", 0.80,
           ratio(vectors, xray))
    yield ("dearest of these, of the cheapest uretprobe", "<=", 1 / 50,
           ratio(worst([none, alone, seen, sse, vectors]), kernel))
    for case in ("call/no_handler", "call/return/vectors_alone",
                 "call/return/all_vectors"):
        yield (f"{case[5:]}, 2 threads on it, of 1", "<=", 1.15,
               ratio(cases.get(case + "/threads:2"), cases.get(case)))
    yield ("throw through 10 probed frames, of unprobed", "<=", 2,
           ratio(worst([cases.get("throw/no_handler"),
                        cases.get("throw/return")]),
                 cases.get("throw/unprobed")))
    for what, case in (("attaching", "attach/10000"),
                       ("detaching", "attach/detach_10000"),
                       ("detaching, one by one,",
                        "attach/detach_10000/one_by_one")):
        seconds = cases.get(case)
        yield (f"{what} 10,000 functions, s", "<=", 1,
               seconds * 1e-9 if seconds else None)
    yield ("memory per probe, bytes", "<=", 512,
           cases.get("attach/10000 bytes_per_probe"))


def ideal_targets(runs):
    for threads in (1, 2):
        case = f"ideal/%s/threads:{threads}"

        def of(*peers, case=case):
            """Ours, of the best of `peers`, each in its own run."""
            return worst(ratio(run.get(case % "objpool"), run.get(case % peer))
                         for run in runs for peer in peers)

        yield f"ideal, {threads} thread(s), of kernel_ring", "<=", 0.15, of(
            "kernel_ring")
        yield f"ideal, {threads} thread(s), of the best malloc", "<=", 0.40, of(
            *MALLOCS)
        yield (f"ideal, {threads} thread(s), of the best shared peer", "<=",
               0.15, of(*SHARED_PEERS))
    yield ("ideal, 2 threads, of 1", "<=", 1.25,
           ratio(runs[0].get("ideal/objpool/threads:2"),
                 runs[0].get("ideal/objpool/threads:1")))


def empty_targets(cases):
    for threads in (1, 2):
        yield (f"empty, {threads} thread(s), of the global freelist", "<=", 3,
               ratio(cases.get(f"empty/objpool/threads:{threads}"),
                     cases.get(f"empty/freelist/threads:{threads}")))
    cpus = "empty_cpus/%s/cpus:%d/threads:1"
    ours = {n: cases.get(cpus % ("objpool", n)) for n in (2, 16, 64, 256)}
    for peer in ("kernel_ring", "percpu_freelist"):
        for n in (64, 256):
            yield (f"empty, {n} CPUs, failing pops, of {peer}", ">=", 10,
                   ratio(cases.get(cpus % (peer, n)), ours[n]))
    yield "empty, 256 CPUs, cost of that with 2", "<=", 1.3, ratio(ours[256],
                                                                   ours[2])


def starved_targets(cases):
    """overrun and rate: hits per second, and the part of pops that hit."""
    for scenario, where in (("overrun", ""), ("rate", ", worst load")):
        for threads in (1, 2):
            faster, luckier = [], []
            for name in cases:
                match = re.fullmatch(
                    rf"{scenario}/objpool/(.*threads:{threads})", name)
                if not match:
                    continue

                def of(pool, counter, variant=match[1]):
                    return cases.get(f"{scenario}/{pool}/{variant} {counter}")

                faster.append(ratio(of("kernel_ring", "ns_per_hit"),
                                    of("objpool", "ns_per_hit")))
                luckier += [ratio(of("objpool", "hit_rate_at_once"),
                                  of(peer, "hit_rate_at_once"))
                            for peer in peers_of(cases, scenario)]
            what = f"{scenario}, {threads} thread(s){where}"
            yield f"{what}, hits per s, of kernel_ring", ">=", 1.5, best(faster)
            yield f"{what}, hit rate, of the best peer", ">=", 1, best(luckier)


def peers_of(cases, scenario):
    found = {case[1] for case in map(results.pool_case, cases)
             if case and case[0] == scenario}
    return sorted(p for p in found if not p.startswith("objpool"))


def shared_targets(cases):
    """migrate and oversubscribed."""
    found = {}  # {scenario: {pool: case}}, each with one number of threads
    for name in cases:
        if (case := results.pool_case(name)) and case[0] in (
                "migrate", "oversubscribed"):
            found.setdefault(case[0], {})[case[1]] = name
    for scenario in ("migrate", "oversubscribed"):
        pools = found.get(scenario, {})
        yield (f"{scenario}, throughput, of the best shared peer", ">=", 1.5,
               ratio(best(cases[pools[p]] for p in SHARED_PEERS if p in pools),
                     cases.get(pools.get("objpool"))))
    over = found.get("oversubscribed", {}).get("objpool", "threads:0")
    cpus = int(over.rsplit(":", 1)[1]) // 4
    each = cases.get(f"ideal/objpool/threads:{cpus}")
    yield ("oversubscribed, cost of a pop, of ideal's", "<=", 2,
           ratio(cases[over] * 0.25, each) if each else None)


def cas_targets(cases):
    for scenario in ("ideal", "empty", "overrun", "bulk", "migrate",
                     "oversubscribed", "signals", "empty_cpus", "rate"):
        ratios = []
        for name in cases:
            match = re.fullmatch(rf"{scenario}/objpool_cas/([^ ]*)", name)
            if match:
                peer = f"{scenario}/kernel_ring/{match[1]}"
                what = " ns_per_hit" if scenario in ("overrun", "rate") else ""
                ratios.append(ratio(cases.get(peer + what),
                                    cases.get(name + what)))
        yield (f"cas, {scenario}, worst case, of kernel_ring", ">=", 1,
               best(ratios))


def targets(runs):
    """Yields (what, "<=" or ">=", limit, Figure or None)."""
    cases = collections.ChainMap(*runs)
    yield from probe_targets(cases)
    yield from ideal_targets(runs)
    yield from empty_targets(cases)
    yield from starved_targets(cases)
    yield from shared_targets(cases)
    yield from cas_targets(cases)
    yield ("memory, 65,536 objects, 256 CPUs, MiB beyond them", "<=", 2,
           ratio(cases.get("memory/objpool/cpus:256/threads:1"
                           " bytes_beyond_objects"),
                 results.Figure(1 << 20, 1 << 20, 1 << 20)))


def print_probes(cases):
    names = sorted(n for n in cases if n.startswith(results.PROBE_CASES))
    if not names:
        return
    width = max(len(name) for name in names)
    unprobed = cases.get("call/unprobed")
    print(f"{'case':<{width}}  ns, median  quartiles")
    for name in names:
        added = ""
        if unprobed and name.startswith("call/") and "threads" not in name:
            added = f"   adds {number((cases[name] - unprobed).median)}"
        print(f"{name:<{width}}   {cases[name]}{added}")
    print()


def numbers(text):
    return [int(n) for n in re.findall(r"\d+", text)]


def print_pools(cases):
    """A table for each scenario: pools down, threads and the like across."""
    tables = collections.defaultdict(dict)
    for name in sorted(cases):
        if case := results.pool_case(name):
            scenario, pool, column = case
            if "load_percent" in column:
                column, threads = column.split("/")
                scenario += " " + threads
            tables[scenario].setdefault(pool, {})[column] = cases[name]
    for scenario, pools in tables.items():
        columns = sorted({v for row in pools.values() for v in row},
                         key=numbers)
        print(f"{scenario}, ns per pop".ljust(30) + "".join(
            (c.removesuffix("/threads:1") or c).rjust(22) for c in columns))
        for pool, row in sorted(pools.items(), key=lambda item: min(
                f.median for f in item[1].values())):
            cells = (f"{number(f.median)} ({number(f.low)}-{number(f.high)})"
                     if (f := row.get(c)) else "-" for c in columns)
            print(f"  {pool:<28}" + "".join(c.rjust(22) for c in cells))
        print()


def print_targets(runs):
    """Returns how many were missed."""
    print(f"{'target':<62} {'':>2} {'limit':>6} {'seen':>9}  spread")
    missed, left_out = 0, []
    for what, relation, limit, figure in targets(runs):
        if figure is None:
            left_out.append(what)
            continue
        # A hit rate may be a sum of thirds.
        met = (figure.median <= limit * 1.0005 if relation == "<=" else
               figure.median >= limit * 0.9995)
        missed += not met
        print(f"{what:<62} {relation} {number(limit):>6} {figure}  "
              f"{'met' if met else 'MISSED'}")
    if left_out:
        print("not measured: " + "; ".join(left_out))
    return missed


def main():
    arguments = sys.argv[1:]
    strict = "--strict" in arguments
    paths = [a for a in arguments if a != "--strict"]
    if not paths or any(a.startswith("-") for a in paths):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    runs, left_out = [], []
    for path in paths:
        cases, context = results.read(path)
        runs.append(cases)
        if context.get("left_out", "nothing") not in ("nothing", *left_out):
            left_out.append(context["left_out"])
    cases = collections.ChainMap(*runs)
    print_probes(cases)
    print_pools(cases)
    missed = print_targets(runs)
    lost = max((results.taken_by_others(path) or 0 for path in paths))
    if lost > 0.1:
        print(f"note: other programs had the CPU for {lost:.0%} of the time; "
              "figures vary")
    if left_out:
        print("left out: " + " ".join(left_out))
    return 1 if strict and missed else 0


if __name__ == "__main__":
    sys.exit(main())
