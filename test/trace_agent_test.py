#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the agent library brings into a program, and what its handlers touch."""
import os
import re
import subprocess
import sys
import pathlib
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "trace"))
import harness  # noqa: E402

AGENT = os.environ["RETPROBE_AGENT"]
VECTOR = re.compile(r"%[xyz]mm\d|%mm\d|%st\b|%k[1-7]\b")


def output(*command):
    return subprocess.run(command, capture_output=True, check=True,
                          text=True).stdout


class Agent(unittest.TestCase):
    def test_nothing_is_exported(self):
        names = [line for line in output("nm", "-D", "--defined-only",
                                         AGENT).splitlines()]
        self.assertEqual(names, [])

    def test_only_libc_is_needed(self):
        needed = re.findall(r"NEEDED.*\[(.*)\]", output("readelf", "-d", AGENT))
        self.assertLessEqual(set(needed), {"libc.so.6", "libm.so.6",
                                           "ld-linux-x86-64.so.2"})

    def test_the_allocator_is_its_own(self):
        wanted = output("nm", "-D", "--undefined-only", AGENT)
        for name in ("malloc", "calloc", "realloc", "free", "memalign",
                     "posix_memalign", "aligned_alloc", "_Znwm", "_ZdlPv",
                     "Zydis", "absl"):
            self.assertNotRegex(wanted, rf"\b{name}\b")

    def test_it_stays_loaded(self):
        self.assertIn("NODELETE", output("readelf", "-d", AGENT))

    def functions(self):
        """Name -> instructions, for what the trampoline calls."""
        code = {}
        name = None
        for line in output("objdump", "-dC", "--no-show-raw-insn",
                           AGENT).splitlines():
            if match := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
                name = match.group(1)
                code.setdefault(name, [])
            elif name and line.startswith(" "):
                code[name].append(line)
        return code

    def test_handlers_leave_vector_registers_alone(self):
        code = self.functions()
        handlers = [name for name in code
                    if ("EntryContext&" in name or "ReturnContext&" in name)
                    # Promises nothing, so what it changes is kept around it.
                    and "TrapGuards" not in name]
        self.assertTrue(any("OnEntry" in name for name in handlers), handlers)
        self.assertTrue(any("OnReturn" in name for name in handlers))
        self.assertTrue(any("lambda" in name or "_FUN" in name
                            for name in handlers), handlers)
        for name in handlers:
            for line in code[name]:
                self.assertNotRegex(line, VECTOR, name)
                # Calls only into the agent.
                self.assertNotIn("@plt", line, name)


if __name__ == "__main__":
    harness.main()
