# SPDX-License-Identifier: Apache-2.0
"""Runs each program bare and traced, compares, prints the table: ./run."""
import argparse
import difflib
import json
import pathlib
import shutil
import signal
import sys
import tempfile

import workloads

LIBRARIES = ["libc.so.6:*", "libstdc++.so.6:*"]
# Lines that are shown of a difference.
LINES = 20


def differences(bare, traced):
    """Yields (name, lines) for each thing seen that is not the same."""
    for name in {**bare, **traced}:
        old, new = bare.get(name), traced.get(name)
        if old == new:
            continue
        lines = difflib.unified_diff(
            (old or "").splitlines(), (new or "").splitlines(), "bare",
            "traced", n=1, lineterm="")
        yield name, list(lines)[:LINES]


def attempt(workload, run):
    """Runs; what goes wrong on the way is seen too."""
    try:
        workload.work(run)
    except Exception as error:  # e.g. a server that does not start
        run.note("the run", f"{type(error).__name__}: {error}")
    finally:
        run.end()


def compare(workload, folder, options):
    """Yields a row for each way of tracing."""
    patterns = ["*"] if options.everything else (
        LIBRARIES + workload.patterns)
    small = options.small
    bare = workloads.Run(folder, small=small)
    attempt(workload, bare)
    modes = ["alone"]
    if workload.children and not options.alone:
        modes.append("follow")
    for mode in modes:
        run = workloads.Run(folder, mode, patterns, small)
        attempt(workload, run)
        totals, complaints = run.totals()
        differing = list(differences(bare.seen, run.seen))
        if "the run" in bare.seen:
            complaints.append("bare: " + bare.seen["the run"])
        if mode == "follow" and totals["processes"] <= len(run.reports):
            complaints.append("no child was traced")
        yield {
            "program": workload.name, "traced": mode, **totals,
            "per_request": run.per_request, "bare_s": bare.cost,
            "traced_s": run.cost,
            "slowdown": (run.cost / bare.cost if run.cost and bare.cost
                         else None),
            "complaints": complaints,
            "differences": [{"what": name, "lines": lines}
                            for name, lines in differing],
        }


def ok(row):
    return not row["complaints"] and not row["differences"]


def verdict(row):
    if ok(row):
        return "ok"
    return "; ".join([d["what"] + " differs" for d in row["differences"]] +
                     row["complaints"][:2])


def time_text(row, key):
    value = row[key]
    if value is None:
        return "-"
    return f"{value * 1e6:.1f} us" if row["per_request"] else f"{value:.2f} s"


COLUMNS = (
    ("program", 19, lambda r: r["program"]),
    ("traced", 7, lambda r: r["traced"]),
    ("probed", 7, lambda r: str(r["probed"])),
    ("refused", 8, lambda r: str(r["refused"])),
    ("processes", 10, lambda r: str(r["processes"])),
    ("calls", 10, lambda r: str(r["calls"])),
    ("missed", 7, lambda r: str(r["missed"])),
    ("bare", 10, lambda r: time_text(r, "bare_s")),
    ("with", 10, lambda r: time_text(r, "traced_s")),
    ("slowdown", 9, lambda r: f"{r['slowdown']:.2f}" if r["slowdown"] else "-"),
    ("", 0, verdict),
)


def line(cells):
    """Names to the left, numbers to the right, the verdict as it is."""
    cells = list(cells)
    text = "".join(
        cell.ljust(width) if i < 2 else cell.rjust(width)
        for i, (cell, (_, width, _)) in enumerate(zip(cells[:-1], COLUMNS)))
    return f"{text}  {cells[-1]}".rstrip()


def show(row):
    print(line(cell(row) for _, _, cell in COLUMNS), flush=True)
    for difference in row["differences"]:
        print(f"  {difference['what']}:")
        for text in difference["lines"]:
            print(f"    {text}")
    for complaint in row["complaints"][:LINES]:
        print(f"  {complaint}")


def parse(arguments):
    parser = argparse.ArgumentParser(prog="test/programs/run")
    for option in ("--json", "--alone", "--everything", "--small",
                   "--check"):
        parser.add_argument(option, action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in workloads.ALL:
            parser.error(f"no program '{name}'; expected one of " +
                         ", ".join(workloads.ALL))
    return options


def main():
    options = parse(sys.argv[1:])
    if options.check:  # of the command line only
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rows = []
    folder = tempfile.mkdtemp(prefix="retprobe-programs-")
    pathlib.Path(folder).chmod(0o755)
    if not options.json:
        print(line(title for title, _, _ in COLUMNS))
    try:
        for name in options.names or workloads.ALL:
            for row in compare(workloads.ALL[name], folder, options):
                rows.append(row)
                if not options.json:
                    show(row)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        print(json.dumps(rows, indent=1))
    failed = sum(not ok(row) for row in rows)
    print(f"{len(rows) - failed} passed, {failed} failed",
          file=sys.stderr if options.json else sys.stdout)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
