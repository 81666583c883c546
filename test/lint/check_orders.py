#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that ordered atomic accesses are labelled, on both sides.

usage: check_orders.py FILE_OR_FOLDER...

An access that names an order other than relaxed has, on its line or at most
eight lines above, a comment with its label and its partners:

  // R0 -> A0: publishes what (a release, read by the acquire A0)
  // A0 <- R0, R1: what is visible (an acquire)
  // S0 <-> S1: total order because (sequentially consistent)
  // R2/A3 -> A4 <- R0: both (acq_rel)

Labels are numbered per file; foo.h and foo.cc count as one. A partner in
another file is written file.h:A0. Each partner must name the label back, and
an atomic access must name its order at all.
"""
import pathlib
import re
import sys

REACH = 8
ORDERED = re.compile(
    r"memory_order(?:_|::)(?:acquire|release|acq_rel|seq_cst|consume)\b"
    r"|__ATOMIC_(?:ACQUIRE|RELEASE|ACQ_REL|SEQ_CST|CONSUME)\b")
NAMES_ORDER = re.compile(r"memory_order|__ATOMIC_|\border\b|_order\b")
ACCESS = re.compile(
    r"(?:\.|->)(?:load|store|exchange|fetch_(?:add|sub|and|or|xor)"
    r"|compare_exchange_(?:weak|strong)|test_and_set)\s*\(")
LABEL = r"(?:[\w.]+:)?[RAS]\d+"
HEAD = re.compile(rf"//.*?\b([RAS]\d+)(?:/([RAS]\d+))?(?=\s*<?->?\s*{LABEL})")
ARROW = re.compile(rf"\s*,?\s*(<->|->|<-)\s*({LABEL}(?:\s*,\s*{LABEL})*)")


def labels_of(line):
    """Yields (label, [partners]) for the labels that a line defines."""
    head = HEAD.search(line)
    if not head:
        return
    names = [name for name in head.groups() if name]
    position = head.end()
    while arrow := ARROW.match(line, position):
        position = arrow.end()
        partners = re.split(r"\s*,\s*", arrow.group(2))
        kind = {"->": "R", "<-": "A", "<->": "S"}[arrow.group(1)]
        for name in names:
            if name[0] == kind:
                yield name, partners


def unit_of(path):
    """foo.h and foo.cc share their labels."""
    return path.parent / path.stem


class Checker:
    def __init__(self):
        self.errors = []
        self.accesses = 0
        self.labels = {}  # (unit, label) -> (path, line number, partners)
        self.units = {}  # file name -> unit

    def error(self, path, number, what):
        self.errors.append(f"{path}:{number}: {what}")

    def read(self, path):
        self.units[path.name] = unit_of(path)
        lines = path.read_text(encoding="utf-8").split("\n")
        defined = []  # line numbers that define a label
        for number, line in enumerate(lines, 1):
            for label, partners in labels_of(line):
                key = (unit_of(path), label)
                if key in self.labels:
                    old = self.labels[key]
                    partners = old[2] + partners
                self.labels[key] = (path, number, partners)
                defined.append(number)
            code = line.split("//")[0]
            if ORDERED.search(code):
                self.accesses += 1
                if not any(number - REACH <= d <= number for d in defined):
                    self.error(path, number, "ordered operation without a "
                               "label")
            if ACCESS.search(code):
                statement = code
                for following in lines[number:number + 5]:
                    if ";" in statement or "{" in statement:
                        break
                    statement += following.split("//")[0]
                if not NAMES_ORDER.search(statement):
                    self.error(path, number, "atomic access names no order")

    def resolve(self, unit, partner):
        if ":" not in partner:
            return unit, partner
        name, label = partner.split(":")
        return self.units.get(name), label

    def check_pairs(self):
        for (unit, label), (path, number, partners) in self.labels.items():
            for partner in partners:
                other = self.labels.get(self.resolve(unit, partner))
                if other is None:
                    self.error(path, number,
                               f"{label} names {partner}, which is not there")
                    continue
                back = [self.resolve(unit_of(other[0]), p) for p in other[2]]
                if (unit, label) not in back:
                    self.error(path, number, f"{label} names {partner}, "
                               "which does not name it back")


def main():
    checker = Checker()
    for argument in map(pathlib.Path, sys.argv[1:]):
        paths = sorted(argument.rglob("*")) if argument.is_dir() else [argument]
        for path in paths:
            if path.suffix in (".h", ".cc"):
                checker.read(path)
    checker.check_pairs()
    for error in checker.errors:
        print(error)
    print(f"{checker.accesses} ordered accesses, {len(checker.labels)} labels, "
          f"{len(checker.errors)} errors")
    return 1 if checker.errors else 0


if __name__ == "__main__":
    sys.exit(main())
