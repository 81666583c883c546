# SPDX-License-Identifier: Apache-2.0
"""What the trace tests share: running programs with and without `retprobe`.

The command and the agent come from the environment: RETPROBE, RETPROBE_AGENT.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

RETPROBE = os.environ["RETPROBE"]

# More than 200 functions of libc, chosen so that many are hot.
MANY = [
    "libc.so.6:" + name for name in (
        "*alloc*", "free", "str*", "mem*", "read", "write", "open*", "close*",
        "f*", "pthread_mutex_*", "pthread_cond_*", "fork", "wait*", "dup*",
        "pipe*", "poll", "select", "stat*", "lstat*", "get*", "put*", "is*",
        "to*", "qsort*", "sig*", "mmap*", "munmap", "lseek*", "access",
        "readdir*", "exec*", "posix_spawn*")
]


def clean_environment():
    """Without what would make runs differ or talk to the user."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    env.update(LC_ALL="C", TZ="UTC", HOME="/nonexistent", PAGER="cat",
               GIT_CONFIG_NOSYSTEM="1", PYTHONDONTWRITEBYTECODE="1")
    return env


class Result:
    def __init__(self, process):
        self.status = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    def lines(self):
        return self.err.decode(errors="replace").splitlines()


def run(command, **options):
    options.setdefault("env", clean_environment())
    options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("timeout", 120)
    return Result(subprocess.run(command, stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, **options))


def trace(command, patterns, *flags, report=True, wrapper=(), **options):
    """Returns the result and, with `report`, the JSON report.

    `wrapper`: a command that executes what its arguments say.
    """
    with tempfile.NamedTemporaryFile(suffix=".json") as output:
        arguments = [*wrapper, RETPROBE, "trace", *flags]
        for pattern in patterns:
            arguments += ["-e", pattern]
        if report:
            arguments += ["--json", "-o", output.name]
        result = run(arguments + ["--"] + command, **options)
        if not report:
            return result
        text = output.read().decode()
    lines = text.splitlines() if "--events" in flags else [text]
    result.events = [json.loads(line) for line in lines[:-1]]
    return result, json.loads(lines[-1]) if lines and lines[-1] else None


def functions(report):
    """By name, of all modules."""
    return {f["function"]: f for f in report["functions"]}


def main():
    """unittest's, with the line that count_cases.py reads."""
    program = unittest.main(exit=False, verbosity=2)
    result = program.result
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    sys.stderr.flush()
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed" +
          (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)
