#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Lists what the path of a probed call must not call, and does.

usage: check_hot.py NM LIBRARY

Compilers turn loops into calls of memcpy and the like, which use vector
registers and may be probed themselves.
"""
import re
import subprocess
import sys

REFUSED = re.compile(r"^(mem|str|bcmp|bzero)\w*$|^_Z\w*(n[wa]|d[la])[mP]\w*$")


def main():
    nm, library = sys.argv[1:]
    lines = subprocess.run([nm, "--undefined-only", library], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    names = {line.split()[-1].split("@")[0] for line in lines
             if line.startswith(" ")}
    refused = sorted(name for name in names if REFUSED.match(name))
    for name in refused:
        print(f"{library}: calls {name}")
    print(f"{len(names)} names from elsewhere, {len(refused)} of them refused")
    return 1 if refused or not names else 0


if __name__ == "__main__":
    sys.exit(main())
