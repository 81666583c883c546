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
  // R2: a further access in the role of R2, defined elsewhere in the file
  // R5 -> the kernel, which: a partner without an atomic access of ours

Labels are numbered per file or per folder: a partner is looked for in the file
(foo.h and foo.cc count as one), then in its folder. One in another folder is
written A0 (objpool/slot.h), or A0 (Pop) by a word of its file. Each partner must name the label back. Whatever the
order, an atomic access must name it.
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
PARTNER = r"[RAS]\d+(?: \([\w./]+\))?"
COMMENT = r"(?://|#|/?\*).*?"
HEAD = re.compile(
    rf"{COMMENT}\b([RAS]\d+)(?:/([RAS]\d+))?(?=:|\s+<?->? (?:[RAS]\d|the ))")
ARROW = re.compile(
    rf"\s*,?\s*(<->|->|<-)\s*(the |{PARTNER}(?:\s*,\s*{PARTNER})*)")


def labels_of(line):
    """Yields (label, [partners]) for the labels of a line's comment.

    No partners: the line refers to a label that is defined elsewhere.
    """
    head = HEAD.search(line)
    if not head:
        return
    names = [name for name in head.groups() if name]
    if line[head.end():head.end() + 1] == ":":
        yield from ((name, []) for name in names)
        return
    position = head.end()
    while arrow := ARROW.match(line, position):
        position = arrow.end()
        partners = re.split(r"\s*,\s*", arrow.group(2))
        kind = {"->": "R", "<-": "A", "<->": "S"}[arrow.group(1)]
        for name in names:
            if name[0] == kind:
                yield name, partners


def statement_from(lines, number, start):
    """The text from column `start` of a line to its closing parenthesis."""
    text, depth = "", 0
    for line in lines[number - 1:number + 9]:
        for c in line.split("//")[0][start:]:
            depth += (c == "(") - (c == ")")
            text += c
            if c == ")" and depth == 0:
                return text
        start = 0
    return text


def unit_of(path):
    """foo.h and foo.cc share their labels."""
    return path.parent / path.stem


class Checker:
    def __init__(self):
        self.errors = []
        self.accesses = 0
        self.labels = {}  # (unit, label) -> (path, line number, partners)
        self.references = []  # (path, line number, unit, label)

    def error(self, path, number, what):
        self.errors.append(f"{path}:{number}: {what}")

    def read(self, path):
        unit = unit_of(path)
        lines = path.read_text(encoding="utf-8").split("\n")
        labelled = []  # numbers of the lines with a label
        for number, line in enumerate(lines, 1):
            for label, partners in labels_of(line):
                labelled.append(number)
                if not partners:
                    self.references.append((path, number, unit, label))
                    continue
                _, _, known = self.labels.get((unit, label), (0, 0, []))
                self.labels[unit, label] = path, number, known + partners
            code = line.split("//")[0]
            if path.suffix == ".S":
                continue
            if ORDERED.search(code):
                self.accesses += 1
                if not any(number - REACH <= d <= number for d in labelled):
                    self.error(path, number, "ordered operation without a "
                               "label")
            for access in ACCESS.finditer(code):
                text = statement_from(lines, number, access.start())
                if not NAMES_ORDER.search(text):
                    self.error(path, number, "atomic access names no order")

    def is_at(self, key, place):
        """Whether a label's file is the one that `place` names."""
        unit, path = key[0], self.labels[key][0]
        if "/" not in place and "." not in place:
            return re.search(rf"\b{place}\b", path.read_text(encoding="utf-8"))
        wanted = pathlib.Path(place)
        parts = (wanted.parent / wanted.stem).parts
        return unit.parts[-len(parts):] == parts

    def resolve(self, unit, partner):
        """The key of a partner, or None."""
        label, _, place = partner.partition(" ")
        if place:
            found = [k for k in self.labels
                     if k[1] == label and self.is_at(k, place.strip("()"))]
        elif (unit, label) in self.labels:
            return unit, label
        else:
            found = [k for k in self.labels
                     if k[1] == label and k[0].parent == unit.parent]
        return found[0] if len(found) == 1 else None

    def check_pairs(self):
        for (unit, label), (path, number, partners) in self.labels.items():
            for partner in partners:
                if partner == "the ":
                    continue
                key = self.resolve(unit, partner)
                if key is None:
                    self.error(path, number, f"{label} names {partner}, which "
                               "is not there, or more than once")
                    continue
                back = [self.resolve(key[0], p) for p in self.labels[key][2]]
                if (unit, label) not in back:
                    self.error(path, number, f"{label} names {partner}, "
                               "which does not name it back")
        for path, number, unit, label in self.references:
            if self.resolve(unit, label) is None:
                self.error(path, number, f"refers to {label}, which is not "
                           "there, or more than once")


def main():
    checker = Checker()
    for argument in map(pathlib.Path, sys.argv[1:]):
        paths = sorted(argument.rglob("*")) if argument.is_dir() else [argument]
        for path in paths:
            if path.suffix in (".h", ".cc", ".S"):
                checker.read(path)
    checker.check_pairs()
    for error in checker.errors:
        print(error)
    print(f"{checker.accesses} ordered accesses, {len(checker.labels)} labels, "
          f"{len(checker.errors)} errors")
    return 1 if checker.errors else 0


if __name__ == "__main__":
    sys.exit(main())
