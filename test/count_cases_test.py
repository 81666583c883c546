#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests count_cases.py: what it counts, and that it can fail."""
import json
import pathlib
import subprocess
import sys
import tempfile

COUNT_CASES = pathlib.Path(__file__).with_name("count_cases.py")
DOCTEST = ("[doctest] doctest version is \"2.4.9\"\n"
           "===\n[doctest] test cases: {0} | {1} passed | {2} failed"
           " | {3} skipped\n[doctest] assertions: 9 | 9 passed | 0 failed |\n")

# What is told: (result, output of each program) -> (status, last line).
CASES = {
    "a doctest program counts by its summary": (
        [("OK", DOCTEST.format(5, 4, 0, 1))], 0,
        "4 passed, 0 failed, 1 skipped"),
    "colours do not hide a summary": (
        [("OK", "\x1b[0;36m[doctest] \x1b[0mtest cases: \x1b[0m  7 | "
          "\x1b[0;32m  7 passed\x1b[0m | \x1b[0m0 failed\x1b[0m |\n")], 0,
        "7 passed, 0 failed"),
    "two summaries in one program's output are added": (
        [("OK", DOCTEST.format(5, 5, 0, 0) * 2)], 0, "10 passed, 0 failed"),
    "a script counts by its last line of our form": (
        [("OK", "1 passed, 0 failed\nthen\n6 passed, 0 failed\n")], 0,
        "6 passed, 0 failed"),
    "a silent program counts as one case": (
        [("OK", ""), ("SKIP", "no clang"), ("EXPECTEDFAIL", "x")], 0,
        "2 passed, 0 failed, 1 skipped"),
    "a program that crashed after its summary has failed": (
        [("FAIL", DOCTEST.format(5, 5, 0, 0))], 1, "5 passed, 1 failed"),
    "a timeout has failed": ([("TIMEOUT", "")], 1, "0 passed, 1 failed"),
    "a program that should fail and does not has failed": (
        [("UNEXPECTEDPASS", "")], 1, "0 passed, 1 failed"),
    "no test at all is a failure": ([], 1, "0 passed, 0 failed"),
    "only skipped tests are a failure": (
        [("SKIP", "")], 1, "0 passed, 0 failed, 1 skipped"),
}


def check(programs, status, last_line):
    with tempfile.TemporaryDirectory() as folder:
        log = "".join(
            json.dumps({"name": "t", "result": r, "stdout": o}) + "\n"
            for r, o in programs)
        pathlib.Path(folder, "testlog.json").write_text(log)
        return count(folder) == (status, [last_line])


def count(*logs):
    run = subprocess.run([sys.executable, COUNT_CASES, *logs],
                         capture_output=True, text=True, check=False)
    return run.returncode, run.stdout.splitlines()[-1:]


def adds_logs_up():
    with tempfile.TemporaryDirectory() as folder:
        paths = [pathlib.Path(folder, n) for n in ("testlog.json", "more.json")]
        for path in paths:
            path.write_text(json.dumps({"name": "t", "result": "OK"}) + "\n")
        return (count(folder) == (0, ["1 passed, 0 failed"]) and
                count(folder, paths[1]) == (0, ["2 passed, 0 failed"]) and
                count(folder, "none.json") == (1, ["1 passed, 1 failed"]))


def main():
    failed = 0
    for name, case in CASES.items():
        if not check(*case):
            print(f"FAILED: {name}")
            failed += 1
    if not adds_logs_up():
        print("FAILED: several logs are added up")
        failed += 1
    print(f"{len(CASES) + 1 - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
