#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Counts the trampoline's instructions per probed call and watches the number.

usage: count.py [--update] VALGRIND PROBED_CALLS GOLDEN

Runs PROBED_CALLS (probed_calls.cc) under callgrind, case by case, and compares
what a call executes between the symbols of trampoline.S with GOLDEN, by part:

  entry     from retprobe_entry to the call of the function's body
  return    from retprobe_return to its ret
  handlers  around the handlers, both at entry and return, without the handlers

Prints also what the stub and the moved instructions add, which depends on the
compiler and is not compared. --update writes GOLDEN instead.

exit status: 0 as expected, 1 not, 77 valgrind is not installed
"""
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

CASES = ("no_handler", "return", "entry_return")
PARTS = ("entry", "return", "handlers")
CALLS = 1000  # kCalls in probed_calls.cc
HEADER = """\
# Instructions of trampoline.S per probed call, counted by callgrind.
# test/instructions/count.py checks them; --update writes this file.
"""


def kinds(mnemonic, operands):
    """What an instruction of objdump's AT&T output does, as a list of words."""
    found = []
    if mnemonic.startswith("lock"):
        found.append("lock")
        mnemonic, _, operands = operands.partition(" ")
    for prefix, kind in (("call", "call"), ("jmp", "jmp"), ("j", "jcc"),
                         ("ret", "ret"), ("push", "push"), ("pop", "pop")):
        if mnemonic.startswith(prefix):
            found.append(kind)
            break
    else:
        if mnemonic.startswith(("lea", "nop", "endbr")):
            return found
    operands = re.sub(r"\s*[#<].*", "", operands)
    if not re.search(r"\(|%fs:", operands):
        return found
    split = re.split(r",(?![^(]*\))", operands)
    destination = re.search(r"\(|%fs:", split[-1])
    reads_only = mnemonic.startswith(("cmp", "test", "push", "call", "jmp"))
    writes_only = mnemonic.startswith(("mov", "pop", "vmov"))
    if destination and not reads_only:
        found.append("store")
    if not destination or not writes_only:
        found.append("load")
    return found


def disassemble(program):
    """Returns {address: kinds} of the trampoline, and where its parts begin."""
    symbols = {}
    for line in subprocess.run(["nm", program], check=True, text=True,
                               stdout=subprocess.PIPE).stdout.splitlines():
        address, _, name = line.rpartition(" ")
        if name.startswith("retprobe_") and address[:1] in "0123456789abcdef":
            symbols[name] = int(address.split()[0], 16)
    begin, back = symbols["retprobe_entry"], symbols["retprobe_return"]
    end = symbols["retprobe_landing_pad"]
    text = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", f"--start-address={begin:#x}",
         f"--stop-address={end:#x}", program],
        check=True, text=True, stdout=subprocess.PIPE).stdout
    code = {}
    fast_end = None
    for address, mnemonic, operands in re.findall(
            r"^\s*([0-9a-f]+):\s+(\S+)[ \t]*(.*?)\s*$", text, re.MULTILINE):
        address = int(address, 16)
        code[address] = kinds(mnemonic, operands)
        if fast_end is None and address >= back and mnemonic.startswith("ret"):
            fast_end = address + 1
    return code, (begin, back, fast_end, end)


def executed(valgrind, program, case):
    """Returns {(object, address): count} of the measured calls."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder, "out")
        run = subprocess.run(
            [valgrind, "--tool=callgrind", "--dump-instr=yes",
             "--compress-pos=no", "--compress-strings=no",
             "--toggle-collect=MeasuredCalls", f"--callgrind-out-file={out}",
             program, case], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, check=False)
        if run.returncode != 0:
            sys.exit(f"{run.stdout}\ncallgrind ended with {run.returncode}")
        lines = out.read_text().splitlines()
    counts = collections.Counter()
    this_object, skip = "", False
    for line in lines:
        if line.startswith("ob="):
            this_object = line[3:]
        elif line.startswith("calls="):
            skip = True  # the next line is the callee's cost
        elif cost := re.match(r"0x([0-9a-f]+) \S+ (\d+)$", line):
            if not skip:
                counts[this_object, int(cost[1], 16)] += int(cost[2])
            skip = False
    return counts


def count_case(valgrind, program, case, code, bounds):
    """Returns {part: Counter of kinds}; "stub" and "all" among the parts."""
    begin, back, fast_end, end = bounds
    parts = collections.defaultdict(collections.Counter)
    for (where, address), count in executed(valgrind, program, case).items():
        # Rare ways (a magazine that ran empty) are rounded away.
        calls = (count + CALLS // 2) // CALLS
        if not where.endswith(pathlib.Path(program).name):
            parts["stub"]["instructions"] += calls
            continue
        if not begin <= address < end or calls == 0:
            continue
        part = ("entry" if address < back else
                "return" if address < fast_end else "handlers")
        parts[part]["instructions"] += calls
        for kind in code[address]:
            parts[part][kind] += calls
    return parts


def describe(case, part, counter):
    rest = ", ".join(f"{counter[kind]} {kind}" for kind in
                     sorted(counter, key=lambda k: (-counter[k], k))
                     if kind != "instructions")
    return f"{case:<13} {part:<9} {counter['instructions']:>4}  {rest}"


def content(text):
    return [line for line in text.splitlines() if not line.startswith("#")]


def differences(expected, seen):
    """The lines that differ, as a patch would show them."""
    return [f"-{line}" for line in expected if line not in seen] + \
           [f"+{line}" for line in seen if line not in expected]


def main():
    arguments = [a for a in sys.argv[1:] if a != "--update"]
    if len(arguments) != 3:
        sys.exit(__doc__)
    valgrind, program, golden = arguments
    golden = os.path.relpath(golden)
    if shutil.which(valgrind) is None:
        print("valgrind is not installed")
        return 77
    code, bounds = disassemble(program)
    lines, failed = [], 0
    for case in CASES:
        parts = count_case(valgrind, program, case, code, bounds)
        lines += [describe(case, p, parts[p]) for p in PARTS if parts[p]]
        print("\n".join(lines[-len([p for p in PARTS if parts[p]]):]))
        print(f"{case:<13} {'stub':<9} {parts['stub']['instructions']:>4}  "
              "(not compared)")
        if any(parts[p]["lock"] for p in PARTS):
            print(f"{case}: a locked instruction on the path of every call")
            failed += 1
        if not parts["entry"] or not parts["return"]:
            print(f"{case}: no call went through the trampoline")
            failed += 1
    path = pathlib.Path(golden)
    if "--update" in sys.argv:
        path.write_text(HEADER + "\n".join(lines) + "\n")
        return failed != 0
    changed = differences(content(path.read_text()), lines)
    if changed:
        print(f"other than {golden}; when that is meant, run\n  "
              f"{os.path.relpath(__file__)} --update {valgrind} {program} {golden}")
        print("\n".join(changed))
    failed += bool(changed)
    print(f"{len(CASES) + 1 - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
