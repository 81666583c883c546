#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the Promela models of the pool with spin.

usage: check_models.py [MODEL]...    (default: all)

Models are NAME or NAME-OPTION. Each is searched exhaustively; one that is
known to be wrong (see the comment in its source) must be found to be. Prints
what was found, then "N passed, N failed".

exit status: 0 as expected, 1 not or a tool is missing, 2 usage
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

FOLDER = pathlib.Path(__file__).resolve().parent
COMPILER = os.environ.get("CC", "cc")

# name: (options, whether it is right)
MODELS = {
    "kernel_push": ([], False),
    "kernel_push-interrupts_off": (["INTERRUPTS_OFF"], True),
    "ring_push": ([], True),
    "ring_push-not_restarted": (["NOT_RESTARTED"], False),
    "freeze": ([], True),
    "freeze-no_barrier": (["NO_BARRIER"], False),
    "freeze-take_unconfirmed": (["TAKE_UNCONFIRMED"], False),
    "freeze-one_number": (["ONE_NUMBER"], False),
    "closing": ([], True),
    "closing-array": (["ARRAY"], True),
    "closing-no_first_barrier": (["NO_FIRST_BARRIER"], False),
    "closing-no_generation": (["NO_GENERATION"], False),
    "closing-settled_early": (["SETTLED_EARLY"], False),
    "closing-mark_own_only": (["ARRAY", "MARK_OWN_ONLY"], False),
    "sole": ([], True),
    "sole-no_bars": (["NO_BARS"], False),
    "sole-no_look": (["NO_LOOK"], False),
    "sole-no_pushes": (["NO_PUSHES", "ROUNDS=3"], False),
    "occupancy": ([], True),
    "occupancy-no_barrier": (["NO_BARRIER"], False),
    "occupancy-one_step": (["ONE_STEP"], False),
    "occupancy-count_late": (["COUNT_LATE"], False),
}


def run(command, folder):
    done = subprocess.run(command, cwd=folder, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


def search(source, options, folder):
    """Returns (states, error or None); raises when a tool fails."""
    steps = (
        ["spin", "-a", *("-D" + o for o in options), str(source)],
        [COMPILER, "-O1", "-w", "-DSAFETY", "-DMEMLIM=1024", "-o", "pan",
         "pan.c"],
        # Deep enough, and an error when it is not.
        ["./pan", "-m100000", "-b"],
    )
    for step in steps:
        status, output = run(step, folder)
        if status != 0 or "Error:" in output:
            raise RuntimeError(f"{' '.join(step)}: {output.strip()}")
    states = re.search(r"(\d+) states, stored", output)
    errors = re.search(r"errors: (\d+)", output)
    if not states or not errors or "Search not completed" in output and \
            errors.group(1) == "0":
        raise RuntimeError(f"the search was not completed: {output.strip()}")
    if errors.group(1) == "0":
        return int(states.group(1)), None
    found = re.search(r"^pan:1: (.*)$", output, re.MULTILINE)
    return int(states.group(1)), found.group(1) if found else "an error"


def trail(source, options, folder):
    """The last steps of the execution that leads to the error."""
    command = ["spin", "-t", "-p", *("-D" + o for o in options), str(source)]
    for path in folder.glob("*.trail"):
        command[2:2] = ["-k", str(path)]
    return run(command, folder)[1].splitlines()[-60:]


def check(name):
    options, right = MODELS[name]
    source = FOLDER / (name.split("-")[0] + ".pml")
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        start = time.monotonic()
        try:
            states, error = search(source, options, folder)
        except (RuntimeError, OSError) as problem:
            print(f"{name}: {problem}")
            return False
        passed = (error is None) == right
        print(f"{name}: {states} states, {error or 'no errors'}"
              f" ({time.monotonic() - start:.1f} s)"
              f"{'' if passed else ', which is wrong'}", flush=True)
        if not passed and error:
            print("\n".join(trail(source, options, folder)))
        return passed


def main():
    names = sys.argv[1:] or list(MODELS)
    if "--help" in names or "-h" in names:
        print(__doc__.strip())
        return 0
    for name in names:
        if name not in MODELS:
            print(f"check_models.py: no model '{name}'; there are: "
                  f"{' '.join(MODELS)}", file=sys.stderr)
            return 2
    results = [check(name) for name in names]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
