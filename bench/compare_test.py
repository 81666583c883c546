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
    "ideal/retprobe/threads:1": 2, "ideal/malloc/threads:1": 10,
}


def compare(times, *arguments, threads=1, extra=0):
    runs = [{"name": name, "run_type": "iteration", "real_time": time + offset,
             "cpu_time": time + offset + extra, "time_unit": "ns", "threads": threads}
            for name, time in times.items() for offset in (-0.1, 0, 0.1)]
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "r.json")
        path.write_text(json.dumps({"context": {}, "benchmarks": runs}))
        run = subprocess.run([sys.executable, COMPARE, *arguments, path],
                             capture_output=True, text=True, check=False)
    return run.returncode, run.stdout


def seen(output, line_start):
    """The words behind `line_start` of the line that begins with it."""
    for line in output.splitlines():
        if line.startswith(line_start + " "):
            return line[len(line_start):].split()
    raise AssertionError(f"no line '{line_start}' in:\n{output}")


def check_good():
    status, output = compare(GOOD, "--strict")
    return (status == 0 and seen(output, "no handler, of XRay")[1] == "0.2" and
            seen(output, "return handler, all vectors kept, of XRay")[1] == "0.7" and
            seen(output, "dearest of these, of the cheapest uretprobe")[1] ==
            "0.01")


def check_missed():
    status, output = compare(GOOD | {"call/no_handler/real_time": 5},
                             "--strict")
    return status == 1 and seen(output, "no handler, of XRay")[-1] == "MISSED"


def check_not_strict():
    return compare(GOOD | {"throw/return": 5000})[0] == 0


def check_wall_time():
    # The benchmark library divides wall time by the operations of all threads.
    _, output = compare({"ideal/malloc/threads:2": 4}, threads=2, extra=100)
    return seen(output, "ideal/malloc/threads:2")[0] == "8"


def check_processor_time():
    # And processor time, which is the threads' sum, as well.
    _, output = compare({"call/no_handler/real_time/threads:2": 4}, threads=2,
                        extra=3)
    return seen(output, "call/no_handler/threads:2")[0] == "7"


CHECKS = {
    "ratios are of added cost, the cheapest kernel probe counts": check_good,
    "a missed target is said and fails when strict": check_missed,
    "a missed target does not fail otherwise": check_not_strict,
    "a pool's time is each thread's wall time": check_wall_time,
    "a probe's time is processor time": check_processor_time,
}


def main():
    failed = [name for name, check in CHECKS.items() if not check()]
    for name in failed:
        print(f"FAILED: {name}")
    print(f"{len(CHECKS) - len(failed)} passed, {len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
