#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sums up the test cases of `meson test` runs.

usage: count_cases.py LOG...    (a log in JSON, or a folder with testlog*.json)

A doctest program counts by its own summary, another program by its last line
of the form "N passed, N failed[, N skipped]", any other as one case. A program
that failed counts at least one failure, whatever it said before it ended; so
does a log that is not there.

Prints "N passed, N failed[, N skipped]"; fails when a case failed or none ran.
"""
import json
import pathlib
import re
import sys

DOCTEST = re.compile(
    r"^\[doctest\] test cases: *\d+ \| *(\d+) passed \| *(\d+) failed"
    r"(?: \| *(\d+) skipped)?", re.MULTILINE)
OWN = re.compile(
    r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", re.MULTILINE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
FINE = ("OK", "EXPECTEDFAIL")


def cases(result, output):
    """Returns [passed, failed, skipped] of one program."""
    if result == "SKIP":
        return [0, 0, 1]
    output = COLOUR.sub("", output)
    found = DOCTEST.findall(output) or OWN.findall(output)[-1:]
    if not found:
        return [1, 0, 0] if result in FINE else [0, 1, 0]
    counts = [sum(int(c or 0) for c in column) for column in zip(*found)]
    if result == "EXPECTEDFAIL":
        return [1, 0, 0]
    if result not in FINE and counts[1] == 0:
        counts[1] = 1
    return counts


def logs(arguments):
    for path in map(pathlib.Path, arguments):
        yield from sorted(path.glob("testlog*.json")) if path.is_dir() else [
            path]


def main():
    total = [0, 0, 0]
    for log in logs(sys.argv[1:]):
        if not log.exists():
            print(f"{log}: not there", file=sys.stderr)
            total[1] += 1
            continue
        for line in log.read_text(errors="replace").splitlines():
            test = json.loads(line)
            output = test.get("stdout") or ""
            for i, count in enumerate(cases(test["result"], output)):
                total[i] += count
    passed, failed, skipped = total
    if passed + failed == 0:
        print("no test ran", file=sys.stderr)
    print(f"{passed} passed, {failed} failed" +
          (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or passed == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
