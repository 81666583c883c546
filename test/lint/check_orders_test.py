#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests check_orders.py on samples: what it accepts and what it catches."""
import pathlib
import subprocess
import sys
import tempfile

CHECKER = pathlib.Path(__file__).with_name("check_orders.py")
STORE = "last_.store(t, std::memory_order_release);\n"
LOAD = "auto l = last_.load(std::memory_order_acquire);\n"
PAIR = "// R0 -> A0: an entry.\n" + STORE + "// A0 <- R0: the entry.\n" + LOAD

# name: ({file: text}, what the output must hold, or None when all is well)
SAMPLES = {
    "a pair that names itself both ways": ({"a.cc": PAIR}, None),
    "a pair in a header and its source": (
        {"a.h": "// R0 -> A0: x\n" + STORE, "a.cc": "// A0 <- R0: x\n" + LOAD},
        None),
    "a partner in another file of the folder": (
        {"a.h": "// R0 -> A3: x\n" + STORE, "b.h": "// A3 <- R0: x\n" + LOAD},
        None),
    "a partner in another folder": (
        {"a/c.h": "// R0 -> A0 (b/d.h): x\n" + STORE,
         "b/d.h": "// A0 <- R0 (a/c.h): x\n" + LOAD}, None),
    "a partner by a word of its file": (
        {"a/c.h": "// R0 -> A0 (Pop): x\n" + STORE,
         "a/d.h": "// A0 <- R1: x\n// R1 -> A0\n" + LOAD,
         "b/d.h": "// A0 <- R0 (a/c.h): x\nvoid Pop() {\n" + LOAD}, None),
    "a second access in a label's role": (
        {"a.cc": PAIR + "// R0: as above\n" + STORE}, None),
    "a partner in prose": (
        {"a.cc": "// R0 -> the kernel, which reads it.\n" + STORE}, None),
    "a partner in assembly": (
        {"a.cc": "// R0 -> A0: x\n" + STORE, "b.S": "/* A0 <- R0: x */\n"},
        None),
    "an order on a later line of the call": (
        {"a.cc": "if (h.compare_exchange_weak(a, b,\n"
                 "      std::memory_order_relaxed)) {\n"}, None),
    "one release with two readers": (
        {"a.cc": "// R0 -> A0, A1: x\n" + STORE + "// A0 <- R0: x\n" + LOAD +
         "// A1 <- R0: x\n" + LOAD}, None),
    "acq_rel with both labels": (
        {"a.cc": "// R1/A1 -> A0 <- R0: x\n"
                 "t_.fetch_add(1, std::memory_order_acq_rel);\n"
                 "// R0 -> A1: x\n" + STORE + "// A0 <- R1: x\n" + LOAD}, None),
    "relaxed needs no label": (
        {"a.cc": "n_.load(std::memory_order_relaxed);  // relaxed: statistic\n"},
        None),
    "an access without a label": (
        {"a.cc": STORE}, "a.cc:1: ordered operation without a label"),
    "a label too far away": (
        {"a.cc": "// R0 -> A0: x\n" + "\n" * 8 + STORE + "// A0 <- R0: x\n" +
         LOAD}, "a.cc:10: ordered operation without a label"),
    "a partner that does not name it back": (
        {"a.cc": PAIR + "// A1 <- R0: x\n" + LOAD},
        "A1 names R0, which does not name it back"),
    "a partner that is not there": (
        {"a.cc": "// R0 -> A7: x\n" + STORE}, "R0 names A7, which is not there"),
    "an access that names no order": (
        {"a.cc": "n_.fetch_add(1);  // memory_order\n"},
        "a.cc:1: atomic access names no order"),
    "a role that nobody has": (
        {"a.cc": "// R4: as above\n" + STORE}, "refers to R4, which is not"),
    "a partner that two other files have": (
        {"a.cc": "// R0 -> A0: x\n" + STORE, "b.cc": "// A0 <- R0: x\n" + LOAD,
         "c.cc": "// A0 <- R0: x\n" + LOAD}, "or more than once"),
}


def check(files, expected):
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            path = pathlib.Path(folder, name)
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        run = subprocess.run([sys.executable, CHECKER, folder],
                             capture_output=True, text=True, check=False)
    if expected is None:
        return run.returncode == 0
    return run.returncode == 1 and expected in run.stdout


def main():
    failed = 0
    for name, (files, expected) in SAMPLES.items():
        if not check(files, expected):
            print(f"FAILED: {name}")
            failed += 1
    print(f"{len(SAMPLES) - failed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
