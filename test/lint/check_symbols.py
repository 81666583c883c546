#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists what a shared library exports outside namespace retprobe.

usage: check_symbols.py NM LIBRARY

A C++ symbol must belong to namespace retprobe, a C symbol begin with
"retprobe_"; and there must be some.
"""
import re
import subprocess
import sys

# Functions, const members, and the vtables, typeinfos and guards of both.
OURS = re.compile(r"^(_ZN|_ZNK|_ZT[VTIS]N|_ZGVN)8retprobe\w*$|^retprobe_\w+$")


def main():
    nm, library = sys.argv[1:]
    lines = subprocess.run([nm, "-D", "--defined-only", library], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    # "address type name[@version]"; A: the version definitions themselves.
    names = [line.split()[2].split("@")[0] for line in lines
             if line.split()[1] != "A"]
    strangers = [name for name in names if not OURS.match(name)]
    for name in strangers:
        print(f"{library}: exports {name}, which is not ours")
    if not names:
        print(f"{library}: exports nothing")
    print(f"{len(names)} exported symbols, {len(strangers)} of them not ours")
    return 1 if strangers or not names else 0


if __name__ == "__main__":
    sys.exit(main())
