#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests compare.py on made-up results: what it computes, and that it can miss."""
import json
import pathlib
import subprocess
import sys
import tempfile

COMPARE = pathlib.Path(__file__).with_name("compare.py")
GOOD = {
    "call/unprobed/real_time": 1, "call/xray/real_time": 11,
    "call/no_handler/real_time": 3, "call/return/vectors_alone/real_time": 5,
    "call/return/all_vectors/real_time": 8,
    "call/uretprobe/nop5/real_time": 701, "call/uretprobe/plain/real_time": 5001,
    "throw/unprobed": 1000, "throw/return": 1900,
}
POOLS = {
    "ideal/objpool/threads:1": 2, "ideal/kernel_ring/threads:1": 20,
    "ideal/malloc/threads:1": 10, "ideal/ck_ring/threads:1": 40,
    "ideal/moodycamel/threads:1": 20,
}


def runs_of(times, threads, extra, counters):
    """Three repetitions of each case; a pool's time is also its median part."""
    for name, time in times.items():
        for offset in (-0.1, 0, 0.1):
            run = {"name": name, "run_type": "iteration",
                   "real_time": time + offset,
                   "cpu_time": time + offset + extra, "time_unit": "ns",
                   "threads": threads}
            if not name.startswith(("call/", "throw/", "attach/")):
                run |= {"median_ns": time + offset, "hit_rate": 1}
            yield run | counters.get(name, {})


def compare(*results, strict=True, threads=1, extra=0, counters=None):
    """Exit status and output for one file of made-up times for each result."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for number, times in enumerate(results):
            paths.append(pathlib.Path(folder, f"{number}.json"))
            runs = list(runs_of(times, threads, extra, counters or {}))
            paths[-1].write_text(json.dumps({"context": {},
                                             "benchmarks": runs}))
        run = subprocess.run(
            [sys.executable, COMPARE, *(["--strict"] * strict), *paths],
            capture_output=True, text=True, check=False)
    return run.returncode, run.stdout


def seen(output, line_start):
    """The words behind `line_start` of the line that begins with it."""
    for line in output.splitlines():
        if line.strip().startswith(line_start + " "):
            return line.strip()[len(line_start):].split()
    raise AssertionError(f"no line '{line_start}' in:\n{output}")


def ratio_seen(output, target):
    return float(seen(output, target)[2])


def check_good():
    status, output = compare(GOOD)
    return (status == 0 and ratio_seen(output, "no handler, of XRay") == 0.2 and
            ratio_seen(output,
                       "return handler, all vectors kept, of XRay") == 0.7 and
            ratio_seen(output,
                       "dearest of these, of the cheapest uretprobe") == 0.01)


def check_missed():
    status, output = compare(GOOD | {"call/no_handler/real_time": 5})
    return status == 1 and seen(output, "no handler, of XRay")[-1] == "MISSED"


def check_not_strict():
    return compare(GOOD | {"throw/return": 5000}, strict=False)[0] == 0


def check_wall_time():
    # Of the benchmark library, which divides it by all threads' operations.
    _, output = compare({"attach/x/manual_time": 4}, threads=2,
                        extra=100)
    return seen(output, "attach/x")[0] == "8"


def check_processor_time():
    # And processor time, which is the threads' sum, as well.
    _, output = compare({"call/no_handler/real_time/threads:2": 4}, threads=2,
                        extra=3)
    return seen(output, "call/no_handler/threads:2")[0] == "7"


def check_ideal():
    status, output = compare(POOLS)
    return (status == 0 and
            ratio_seen(output, "ideal, 1 thread(s), of kernel_ring") == 0.1 and
            ratio_seen(output, "ideal, 1 thread(s), of the best shared peer")
            == 0.1)


def check_best_malloc():
    # Ours takes 2 beside malloc (10), 3 beside jemalloc (6): 0.5 counts.
    status, output = compare(POOLS, {"ideal/objpool/threads:1": 3,
                                     "ideal/jemalloc/threads:1": 6})
    target = "ideal, 1 thread(s), of the best malloc"
    return (status == 1 and ratio_seen(output, target) == 0.5 and
            seen(output, target)[-1] == "MISSED" and
            ratio_seen(output, "ideal, 1 thread(s), of kernel_ring") == 0.1)


def check_hits():
    # Twice the pops per second, but half of them miss: as many hits.
    times = {"overrun/objpool/threads:2": 10, "overrun/kernel_ring/threads:2":
             20}
    counters = {"overrun/objpool/threads:2":
                {"hit_rate": 0.5, "hit_rate_at_once": 0.4},
                "overrun/kernel_ring/threads:2": {"hit_rate_at_once": 0.5}}
    status, output = compare(times, counters=counters)
    hits = "overrun, 2 thread(s), hits per s, of kernel_ring"
    rate = "overrun, 2 thread(s), hit rate, of the best peer"
    return (status == 1 and ratio_seen(output, hits) == 1 and
            seen(output, hits)[-1] == "MISSED" and
            ratio_seen(output, rate) == 0.8)


def check_cas():
    # The worst of all variants counts.
    _, output = compare({"empty_cpus/objpool_cas/cpus:2/threads:1": 10,
                         "empty_cpus/kernel_ring/cpus:2/threads:1": 5,
                         "empty_cpus/objpool_cas/cpus:64/threads:1": 10,
                         "empty_cpus/kernel_ring/cpus:64/threads:1": 90})
    return ratio_seen(output,
                      "cas, empty_cpus, worst case, of kernel_ring") == 0.5


def check_oversubscribed():
    # Four threads to a CPU wait four times as long for the same.
    _, output = compare({"ideal/objpool/threads:2": 2,
                         "oversubscribed/objpool/threads:8": 12})
    return ratio_seen(output,
                      "oversubscribed, cost of a pop, of ideal's") == 1.5


def check_busy():
    # Processor time falls short of wall time: somebody else had the CPU.
    _, quiet = compare(POOLS)
    _, busy = compare(POOLS, extra=-1)
    return "other programs" in busy and "other programs" not in quiet


CHECKS = {
    "ratios are of added cost, the cheapest kernel probe counts": check_good,
    "a missed target is said and fails when strict": check_missed,
    "a missed target does not fail otherwise": check_not_strict,
    "wall time is each thread's": check_wall_time,
    "a probe's time is processor time": check_processor_time,
    "the dearest ratio counts of several peers": check_ideal,
    "a malloc is compared within its own run": check_best_malloc,
    "hits are compared, not pops": check_hits,
    "cas is compared case by case": check_cas,
    "waiting for a CPU is not a cost of the pool": check_oversubscribed,
    "a busy machine is told": check_busy,
}


def main():
    failed = [name for name, check in CHECKS.items() if not check()]
    for name in failed:
        print(f"FAILED: {name}")
    print(f"{len(CHECKS) - len(failed)} passed, {len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
