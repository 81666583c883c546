#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""usage: core_test.py PROGRAM

Lets PROGRAM (uncaught.cc) die under gdb, writes its core file, and reads the
stack from that file: every frame from the throw to main, the trampoline between
each two.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

FRAMES = ["__cxa_throw", "core_throw", "core_middle", "core_middle", "core_middle", "main"]
PROBED = 4


def gdb(*arguments):
    command = ["gdb", "-nx", "-batch", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout


def main():
    if shutil.which("gdb") is None:
        print("skipped: no gdb")
        return 77
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as directory:
        core = os.path.join(directory, "core")
        # ptrace may be forbidden in a container.
        output = gdb("-ex", "run", "-ex", f"gcore {core}", program)
        if not os.path.exists(core):
            print(output)
            if "ptrace" in output or "Could not trace" in output:
                print("skipped: gdb may not trace")
                return 77
            return 1
        stack = gdb("-ex", "bt", program, core)
    names = re.findall(r"^#\d+ +(?:0x[0-9a-f]+ in )?(\w+)", stack, re.MULTILINE)
    known = [name for name in names if name in FRAMES]
    trampolines = sum(name.startswith("retprobe_") for name in names)
    print(stack)
    if known != FRAMES or trampolines != PROBED:
        print(f"expected {FRAMES} with {PROBED} trampolines, got {names}")
        return 1
    return 0


sys.exit(main())
