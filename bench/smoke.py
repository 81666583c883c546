#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every case of a benchmark program once and briefly: benches never rot.

usage: smoke.py BENCHMARK_PROGRAM [FILTER]

A case that cannot run here is not registered; one that reports an error fails.
"""
import json
import subprocess
import sys


def main():
    program, *filters = sys.argv[1:]
    run = subprocess.run(
        [program, "--benchmark_min_time=0.001", "--benchmark_repetitions=1",
         "--benchmark_format=json"] +
        [f"--benchmark_filter={f}" for f in filters],
        stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        print(f"exit status {run.returncode}")
        return 1
    cases = json.loads(run.stdout)["benchmarks"]
    failed = [c for c in cases if "error_message" in c]
    for case in failed:
        print(f"FAILED: {case['name']}: {case['error_message']}")
    print(f"{len(cases) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
