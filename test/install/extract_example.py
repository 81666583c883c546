#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the first C++ block of a Markdown file.

usage: extract_example.py FILE.md
"""
import re
import sys


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    block = re.search(r"^```cpp\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    if not block:
        print(f"{sys.argv[1]}: no ```cpp block", file=sys.stderr)
        return 1
    print(block.group(1), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
