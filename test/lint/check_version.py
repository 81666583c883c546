#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds version.h equal to the build's version.

usage: check_version.py VERSION_H VERSION
"""
import re
import sys


def main():
    text = open(sys.argv[1], encoding="utf-8").read()
    macros = dict(re.findall(r"#define RETPROBE_VERSION_(\w+) \"?([^\"\n]+)",
                             text))
    parts = ".".join(macros.get(p, "?") for p in ("MAJOR", "MINOR", "PATCH"))
    wanted = sys.argv[2]
    for what, seen in (("_MAJOR, _MINOR and _PATCH say", parts),
                       ("_STRING says", macros.get("STRING", "?"))):
        if seen != wanted:
            print(f"{sys.argv[1]}: RETPROBE_VERSION{what} {seen}, "
                  f"meson.build says {wanted}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
