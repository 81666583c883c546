#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the tables and plots of the READMEs from benchmark results.

usage: figures.py RESULT.json...
       figures.py --again | --check

RESULT.json are objpool_bench's, as ./bench/run leaves them in
build/bench-results. Their medians and quartiles go into
bench/plots/figures.json; the plots beside it, and the tables between the marker
comments of README.md and bench/README.md, are made of that. --again makes them
of the file as it is; --check says whether they are what it gives.

exit status: 0; 1 when --check finds something out of date; 2 usage
"""
import json
import pathlib
import re
import sys

import plot
import results
from results import number

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIGURES = ROOT / "bench/plots/figures.json"
CONTEXT = ("date", "processor", "num_cpus", "kernel", "compiler", "commit",
           "retprobe", "google_benchmark", "malloc", "jemalloc", "mimalloc",
           "concurrency_kit", "moodycamel", "boost", "onetbb", "dpdk",
           "left_out")
COUNTERS = ("ns_per_hit", "hit_ns", "miss_ns", "bytes_beyond_objects")


def condense(paths):
    """The files' cases in one: where several have a case, the first one's."""
    cases, context = {}, {}
    for path in paths:
        found, its_context = results.read(path)
        context = its_context | context
        for name, figure in found.items():
            counter = name.partition(" ")[2]
            if (results.pool_case(name) or counter in COUNTERS) and \
                    not name.startswith(results.PROBE_CASES):
                cases.setdefault(name, [float(f"{v:.4g}") for v in (
                    figure.low, figure.median, figure.high)])
    lost = max(results.taken_by_others(path) or 0 for path in paths)
    return {"context": {k: context[k] for k in CONTEXT if k in context} |
            {"taken_by_others": f"{lost:.0%}"},
            "cases": dict(sorted(cases.items()))}


class Cases:
    def __init__(self, condensed):
        self.cases = {name: results.Figure(*values)
                      for name, values in condensed["cases"].items()}

    def of(self, scenario, pool, variant, counter=""):
        """The one case whose name matches; `variant` is a pattern."""
        pattern = re.compile(rf"{scenario}/{pool}/{variant} {counter}")
        return next((f for name, f in self.cases.items() if pattern.fullmatch(
            name if " " in name else name + " ")), None)

    def pools(self, scenario, sort_variant):
        """The scenario's pools, cheapest first."""
        found = {}
        for name in self.cases:
            if (case := results.pool_case(name)) and case[0] == scenario:
                found[case[1]] = self.of(scenario, case[1], sort_variant)
        return sorted(found, key=lambda p: found[p].median if found[p] else 1e9)


def table(head, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def cell(figure):
    return number(figure.median) if figure else ""


def with_quartiles(figure):
    if not figure:
        return ""
    return f"{number(figure.median)} ({number(figure.low)} to " \
           f"{number(figure.high)})"


def overview(cases):
    columns = (("ideal", "threads:1", ""), ("ideal", "threads:2", ""),
               ("empty", "threads:1", ""), ("overrun", "threads:2",
                                            "ns_per_hit"),
               ("migrate", "threads:2", ""), ("oversubscribed", r"threads:\d+",
                                              ""))
    head = ["ns per pop and push", "ideal, 1 thread", "2 threads",
            "empty: a failing pop", "overrun, 2 threads: a hit", "migrate",
            "4 threads per CPU"]
    return table(head, [[f"`{pool}`"] + [cell(cases.of(s, pool, v, c))
                                         for s, v, c in columns]
                        for pool in cases.pools("ideal", "threads:2")])


def scenario_table(cases, scenario, variants, heads, counter=""):
    return table([f"`{scenario}`, ns", *heads], [
        [f"`{pool}`"] + [with_quartiles(cases.of(scenario, pool, v, counter))
                         for v in variants]
        for pool in cases.pools(scenario, variants[0])])


def details(cases):
    two = ["threads:1", "threads:2"]
    heads = ["1 thread", "2 threads"]
    loads = sorted({int(m[1]) for name in cases.cases if (m := re.match(
        r"rate/.*load_percent:(\d+)/", name))})
    rate = [f"load_percent:{n}/threads:2" for n in loads]
    rate_heads = [f"{n} % wanted" for n in loads]
    starved = [n for n in rate if int(n.split(":")[1].split("/")[0]) > 100]
    parts = [scenario_table(cases, s, two, heads)
             for s in ("ideal", "empty", "bulk", "signals")]
    parts.append(scenario_table(
        cases, "empty_cpus", [f"(cpus:{n}/)?threads:1" if n == 2 else
                              f"cpus:{n}/threads:1" for n in (2, 16, 64, 256)],
        [f"{n} CPUs" for n in (2, 16, 64, 256)]))
    if rate:
        parts.append("A hit, that is a pop and its push:\n\n" + scenario_table(
            cases, "rate", rate, rate_heads, "hit_ns"))
        parts.append("A miss:\n\n" + scenario_table(
            cases, "rate", starved, rate_heads[-len(starved):], "miss_ns"))
    return "\n\n".join(parts)


def provenance(context):
    return (f"{context['processor']}, {context['num_cpus']} CPUs, "
            f"{context['kernel']}, GCC {context['compiler']}, commit "
            f"{context.get('commit', 'unknown')}; other programs had the CPUs "
            f"for {context['taken_by_others']} of the time. Left out: "
            f"{context['left_out']}.")


def plots(cases):
    pools = cases.pools("ideal", "threads:2")
    rows = [(p, [f.median if (f := cases.of("ideal", p, v)) else None
                 for v in ("threads:1", "threads:2")]) for p in pools]
    yield "ideal.svg", plot.bars("ideal: ns per pop and push", rows,
                                 ["1 thread", "2 threads"])
    shown = ("objpool", "objpool_cas", "kernel_ring", "percpu_freelist")
    series = {p: {n: f.median for n in (2, 16, 64, 256)
                  if (f := cases.of("empty_cpus", p, f"cpus:{n}/threads:1"))}
              for p in shown}
    one = cases.of("empty_cpus", "freelist", "threads:1")
    if one:
        series["freelist"] = {2: one.median, 256: one.median}
    yield "empty_cpus.svg", plot.lines("empty_cpus: ns per failing pop", "CPUs",
                                       {p: s for p, s in series.items() if s})
    shown = ("objpool", "kernel_ring", "freelist", "percpu_freelist",
             "ck_stack", "moodycamel", "rte_mempool")
    series = {p: {n: f.median for n in (50, 100, 150, 200, 400) if (
        f := cases.of("rate", p, f"load_percent:{n}/threads:2", "ns_per_hit"))}
              for p in shown}
    yield "rate.svg", plot.lines("rate: ns per object had, 2 threads",
                                 "percent of the supply that is wanted",
                                 {p: s for p, s in series.items() if s})


def between_markers(text, name, content):
    pattern = re.compile(rf"(<!-- figures: {name} -->\n).*?(<!-- end -->)",
                         re.DOTALL)
    if not pattern.search(text):
        raise SystemExit(f"figures.py: no marker '<!-- figures: {name} -->'")
    return pattern.sub(lambda m: f"{m[1]}{content}\n{m[2]}", text)


def outputs(condensed):
    """Yields (path, what it shall hold)."""
    cases = Cases(condensed)
    for name, content in plots(cases):
        yield FIGURES.parent / name, content
    for name, content in (("README.md", overview(cases)),
                          ("bench/README.md", details(cases))):
        path = ROOT / name
        yield path, between_markers(
            path.read_text(encoding="utf-8"), "pool",
            f"\n{content}\n\n{provenance(condensed['context'])}\n")


def dump(condensed):
    """One case a line."""
    cases = ",\n".join(f"    {json.dumps(name)}: {json.dumps(values)}"
                       for name, values in condensed["cases"].items())
    context = json.dumps(condensed["context"], indent=2).replace("\n", "\n  ")
    return f'{{\n  "context": {context},\n  "cases": {{\n{cases}\n  }}\n}}\n'


def main():
    arguments = sys.argv[1:]
    if not arguments or (arguments not in (["--again"], ["--check"]) and any(
            a.startswith("-") for a in arguments)):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    if arguments == ["--check"]:
        condensed = json.loads(FIGURES.read_text(encoding="utf-8"))
        stale = [path for path, content in outputs(condensed)
                 if not path.exists() or
                 path.read_text(encoding="utf-8") != content]
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what {FIGURES.name} gives; "
                  "run bench/figures.py --again")
        return 1 if stale else 0
    if arguments != ["--again"]:
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(dump(condense(arguments)), encoding="utf-8")
    condensed = json.loads(FIGURES.read_text(encoding="utf-8"))
    for path, content in outputs(condensed):
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
