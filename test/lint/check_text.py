#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the tree's text files, and warns about long ones.

usage: check_text.py ROOT

Errors: a tab, trailing space, a control or an invisible character, a missing
last newline, C++ or build code without the SPDX line. Warnings only: more than
MAX_LINES lines.
"""
import pathlib
import re
import sys

FOLDERS = ("src", "include", "test", "bench", "man")
SPDX = "SPDX-License-Identifier: Apache-2.0"
CODE = (".cc", ".h", ".inc", ".S", ".py", ".sh", ".build")
TEXT = CODE + (".md", ".txt", ".1", ".3", ".5", ".map")
MAX_LINES = 400
BAD = (
    (re.compile(r"\t"), "a tab"),
    (re.compile(r"[ \r]$"), "trailing space"),
    (re.compile("[\x00-\x08\x0b-\x1f\x7f\u00a0\u200b-\u200f\u202a-\u202e"
                "\u2060-\u206f\ufeff]"), "an invisible character"),
)


def files(root):
    yield from (p for p in sorted(root.iterdir())
                if p.suffix in TEXT and p.is_file())
    for folder in FOLDERS:
        yield from (p for p in sorted((root / folder).rglob("*"))
                    if p.suffix in TEXT and p.is_file())


def errors(path, text):
    lines = text.split("\n")
    if text and lines[-1]:
        yield len(lines), "no newline at the end"
    if path.suffix in CODE and SPDX not in "".join(lines[:2]):
        yield 1, f"no line {SPDX}"
    for number, line in enumerate(lines, 1):
        for pattern, what in BAD:
            if pattern.search(line):
                yield number, what


def main():
    root = pathlib.Path(sys.argv[1])
    count = failed = 0
    for path in files(root):
        count += 1
        text = path.read_text(encoding="utf-8")
        for line, what in errors(path, text):
            print(f"{path.relative_to(root)}:{line}: {what}")
            failed += 1
        if text.count("\n") > MAX_LINES:
            print(f"{path.relative_to(root)}: warning: more than "
                  f"{MAX_LINES} lines")
    print(f"{count} files, {failed} errors")
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
