#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Weakens each ordered access of the pool once and sees which model notices.

usage: weaken.py RELACY_MODELS [--short] [--executions N] [FILE]...

Takes the accesses from what the models went through, so that a new one is not
forgotten. Each is tried with every order that is one step weaker, alone.

  --short  only one access of each label in CAUGHT below, made relaxed, in the
           model that is to notice; for every day

  --executions N  of each model, instead of its own number
  FILE            only accesses in these (default: all)

Prints a line for each and "N passed, N failed". An access whose weakening no
model notices fails, unless UNNOTICED below says why.

exit status: 0 as expected, 1 not, 2 usage
"""
import pathlib
import re
import subprocess
import sys

SOURCE = pathlib.Path(__file__).resolve().parents[3] / "src" / "objpool"
RELAXED, ACQUIRE, RELEASE, ACQ_REL, SEQ_CST = 0, 2, 3, 4, 5
NAMES = {RELAXED: "relaxed", ACQUIRE: "acquire", RELEASE: "release",
         ACQ_REL: "acq_rel", SEQ_CST: "seq_cst"}
REACH = 8  # as in check_orders.py
LABEL = re.compile(r"\b([RAS]\d+)\b")

# (file, label): the model that notices when its first access is relaxed.
CAUGHT = {
    ("freelist.h", "R3"): "freelist",
    ("freelist.h", "A3"): "freelist",
    ("freelist.h", "S0"): "occupancy_cas",
    ("freelist.h", "S1"): "occupancy_cas",
    ("spares.h", "R10"): "pool_cas",
    ("spares.h", "S4"): "pool_cas",
    ("ring.h", "A0"): "ring",
    ("ring.h", "R1"): "ring",
    ("policy.h", "R0"): "ring",
    ("policy.h", "A1"): "ring",
    ("occupancy.h", "S2"): "occupancy_cas",
    ("occupancy.h", "S3"): "occupancy_cas",
}

# (file, label, weakened to): why no model notices.
AGAIN = "what was loaded before has acquired the same"
MARKED = ("who takes there has found the place marked (A4, A14), or runs on its "
          "CPU, or has made a membarrier")
REFILL = "no model fills an array again in time"
OWN = ("only its own CPU reads it before a membarrier has passed; the state is "
       "read again by who goes on to search")
NO_PART = "this half of it carries nothing: what follows is not read through it"
SEARCH = ("only the sums of a search depend on it, which would have to be equal "
          "by accident besides")
UNNOTICED = {
    ("freelist.h", "A3", "relaxed"): f"{AGAIN}; in pushes(): {SEARCH}",
    ("spares.h", "A10", "relaxed"): SEARCH,
    ("ring.h", "A2", "release"): "the tail is acquired by itself",
    ("ring.h", "A2", "relaxed"): "a tail behind the head is taken for empty, "
        "which it has been",
    ("ring.h", "A0", "relaxed"): SEARCH,
    ("occupancy.h", "A14", "relaxed"): SEARCH,
    ("occupancy.h", "R14", "acq_rel"): "no push relies on the end of a "
        "clearing, but on its beginning",
    ("occupancy.h", "S2", "acq_rel"): "a swap never reads a stale flag",
    ("occupancy.h", "S2", "acquire"): "the next round's compare-and-swap fails",
    ("occupancy.h", "R4", "release"): NO_PART,
    ("occupancy.h", "R4", "acquire"): "takes back what has just been added",
    ("closing.h", "R8", "acq_rel"): MARKED,
    ("closing.h", "A8", "relaxed"): MARKED,
    ("closing.h", "A8", "acquire"): REFILL,
    ("closing.h", "A8", "release"): MARKED,
    ("closing.h", "R12", "relaxed"): "no model shrinks for long enough",
    ("closing.h", "R11", "release"): NO_PART,
    ("closing.h", "R11", "acquire"): MARKED,
    ("opening.h", "A4", "relaxed"): "bars are put by compare-and-swap, which "
        "no stale word passes",
    ("opening.h", "A16", "relaxed"): "no model opens for one CPU and for "
        "another for long enough",
    ("popping.h", "A4", "relaxed"): "TakeAny loads it again",
    ("searching.h", "A4", "relaxed"): "the second look, whose first has acquired",
    ("searching.h", "R13", "relaxed"): SEARCH,
    ("searching.h", "A13", "relaxed"): SEARCH,
    ("sizing.h", "R5", "release"): NO_PART,
    ("pushing.h", "A12", "relaxed"): "no model shrinks for long enough",
}
# In policy.h, the accesses of magazines' sequences.
UNNOTICED["policy.h", "", "relaxed"] = OWN


def weaker(operation, order, failure):
    """Yields (order, failure), one step weaker in one of them."""
    if operation == "load":
        steps = {SEQ_CST: [ACQUIRE], ACQUIRE: [RELAXED]}
    elif operation == "store":
        steps = {SEQ_CST: [RELEASE], RELEASE: [RELAXED]}
    else:
        steps = {SEQ_CST: [ACQ_REL], ACQ_REL: [ACQUIRE, RELEASE],
                 ACQUIRE: [RELAXED], RELEASE: [RELAXED]}
    for step in steps.get(order, []):
        if operation != "compare_exchange":
            yield step, step
        elif failure == SEQ_CST:
            yield step, ACQUIRE  # may not be stronger than success
        else:
            yield step, failure
    if operation == "compare_exchange":
        for step in {SEQ_CST: [ACQUIRE], ACQUIRE: [RELAXED]}.get(failure, []):
            yield order, step


def labels(file, line):
    """The labels of the nearest comment that has any."""
    path = SOURCE / file
    if not path.exists():
        path = pathlib.Path(__file__).resolve().parent / file
    lines = path.read_text().splitlines()
    found = []
    for number in range(line, max(0, line - REACH), -1):
        code, _, comment = lines[number - 1].partition("//")
        found += LABEL.findall(re.split(r"<->|->|<-", comment)[0])
        # to the beginning of the first comment that has any
        if found and (code.strip() or not comment):
            break
    return found


class Models:
    def __init__(self, program, executions):
        self.program = program
        self.executions = executions
        self.names = []
        self.sites = {}  # (file, line, operation, order, failure): models
        listed = self.run("--sites", "--executions", "300")
        for line in listed.splitlines():
            name = line.split(":")[0]
            if line.startswith("site\t"):
                _, model, file, number, operation, order, failure = \
                    line.split("\t")
                if file.endswith(".cc") or file == "pool.h":
                    continue  # what the models say to each other
                key = file, int(number), operation, int(order), int(failure)
                self.sites.setdefault(key, []).append(model)
            elif " executions" in line and not name.startswith("broken"):
                self.names.append(name)

    def run(self, *arguments):
        return subprocess.run([self.program, *arguments], text=True,
                              stdout=subprocess.PIPE).stdout

    def notices(self, model, site, order, failure):
        file, line = site[:2]
        out = self.run("--weaken", f"{file}:{line}:{order}:{failure}", model,
                       *self.executions)
        return None if ", no errors" in out else \
            out.splitlines()[0].partition(": ")[2]


def describe(site, order, failure):
    file, line, operation, old, old_failure = site
    text = f"{file}:{line} {'/'.join(labels(file, line)) or '-'} {operation} "
    if old != order:
        return text + f"{NAMES[old]} -> {NAMES[order]}"
    return text + f"failure {NAMES[old_failure]} -> {NAMES[failure]}"


def check(models, site, order, failure):
    file, line = site[:2]
    text = describe(site, order, failure)
    for model in models.sites[site]:
        if model.startswith("broken"):
            continue
        found = models.notices(model, site, order, failure)
        if found:
            print(f"{text}: {model}, {found}", flush=True)
            return True
    for label in labels(file, line) or [""]:
        reason = UNNOTICED.get((file, label, text.rpartition(" ")[2]))
        if reason:
            print(f"{text}: not noticed: {reason}", flush=True)
            return True
    print(f"{text}: NOT NOTICED", flush=True)
    return False


def short(models):
    for (file, label), model in CAUGHT.items():
        site = next((s for s in sorted(models.sites)
                     if s[0] == file and label in labels(file, s[1])
                     and model in models.sites[s]), None)
        found = site and models.notices(model, site, RELAXED, RELAXED)
        print(f"{file} {label} relaxed: {model}, "
              f"{found or ('NOT NOTICED' if site else 'NOT FOUND')}",
              flush=True)
        yield bool(found)


def main():
    arguments = sys.argv[1:]
    if "--help" in arguments or "-h" in arguments:
        print(__doc__.strip())
        return 0
    executions = []
    if "--executions" in arguments:
        at = arguments.index("--executions")
        executions = arguments[at:at + 2]
        del arguments[at:at + 2]
    if not arguments or arguments[0].startswith("-"):
        print("usage: weaken.py RELACY_MODELS [--short] [--executions N] "
              "[FILE]...", file=sys.stderr)
        return 2
    models = Models(arguments[0], executions)
    if "--short" in arguments:
        results = list(short(models))
    else:
        files = arguments[1:]
        results = [check(models, site, order, failure)
                   for site in sorted(models.sites)
                   if not files or site[0] in files
                   for order, failure in weaker(*site[2:])]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
