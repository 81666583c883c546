# SPDX-License-Identifier: Apache-2.0
"""One run of a program's work, bare or traced, and what is to be seen of it."""
import hashlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "trace"))
import harness  # noqa: E402

# A hang, not a slow machine.
SECONDS = 1800
# What retprobe itself says on the program's standard error: a pattern for a
# library that this program does not have.
NO_MODULE = re.compile(rb"^retprobe: pattern '[^\n]*' matched nothing: "
                       rb"[^\n]*\n", re.MULTILINE)


class Run:
    """Runs commands in a folder of its own and notes what must not differ."""

    def __init__(self, folder, mode="bare", patterns=(), small=False):
        self.folder = pathlib.Path(folder)
        self.work = self.folder / "work"  # of the same name in each run
        self.traced = mode != "bare"
        self.flags = ["--follow"] if mode == "follow" else []
        self.patterns = patterns
        self.small = small
        self.seen = {}  # name: text; what must be the same
        self.reports = []  # of traced commands
        self.started = []
        self.cost = None  # processor time, or seconds per request
        self.per_request = False
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        self.work.chmod(0o755)  # for servers' workers
        self.env = dict(harness.clean_environment(), HOME=str(self.work),
                        TMPDIR=str(self.folder))

    def note(self, name, value):
        self.seen[name] = value

    def arguments(self, command):
        """`command`, with what traces it in front of it if it is to be."""
        if not self.traced:
            return command
        report = self.folder / f"report{len(self.reports)}.json"
        self.reports.append(report)
        patterns = [a for p in self.patterns for a in ("-e", p)]
        return [os.environ["RETPROBE"], "trace", "--json", "--no-live", "-o",
                str(report), *self.flags, *patterns, "--", *command]

    def execute(self, name, command, trace=True, **options):
        """Runs to the end; notes output and exit status, returns the output."""
        if trace:
            command = self.arguments(command)
        begin = processor_time()
        process = self.start(command, **options)
        status, out, err = finish(process)
        self.cost = (self.cost or 0) + processor_time() - begin
        self.note_end(name, status, out, err)
        return out

    def start(self, command, **options):
        """A process, in a group of its own, that `finish` takes."""
        options.setdefault("cwd", self.work)
        options.setdefault("stdin", subprocess.DEVNULL)
        process = subprocess.Popen(command, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=self.env,
                                   start_new_session=True, **options)
        self.started.append(process)
        return process

    def end(self):
        """No process of ours goes on, whatever went wrong."""
        for process in self.started:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def note_end(self, name, status, out, err):
        self.note(f"{name}: exit status", str(status))
        self.note(f"{name}: standard output", text_of(out))
        self.note(f"{name}: standard error",
                  text_of(NO_MODULE.sub(b"", err)))

    def note_files(self, *left_out):
        """Every file under the folder, by content; globs of paths left out."""
        lines = []
        for path in sorted(self.work.rglob("*")):
            name = path.relative_to(self.work)
            if path.is_dir() or any(name.match(glob) for glob in left_out):
                continue
            content = path.read_bytes() if path.is_file() else b"special"
            digest = hashlib.sha256(content).hexdigest()
            lines.append(f"{name} {len(content)} {digest}\n")
        self.note("files", "".join(lines))

    def totals(self):
        """What all reports say together."""
        functions, totals = {}, dict.fromkeys(
            ("calls", "missed", "processes", "instances"), 0)
        complaints = []
        for path in self.reports:
            if not path.exists() or path.stat().st_size == 0:
                complaints.append("no report was written")
                continue
            report = json.loads(path.read_text())
            complaints += report["errors"] + report["warnings"]
            totals["processes"] += len(report["processes"])
            totals["instances"] += report["instances"]
            for function in report["functions"]:
                key = function["module"], function["function"]
                if functions.get(key) != "probed":
                    functions[key] = function["state"]
                totals["calls"] += function.get("calls", 0)
                totals["missed"] += function.get("missed", 0)
                complaints += wrong(function)
            path.unlink()
        states = list(functions.values())
        totals["refused"] = states.count("refused")
        totals["probed"] = len(states) - totals["refused"]
        if self.traced and totals["calls"] == 0:
            complaints.append("no call was seen")
        return totals, sorted(set(complaints))


def processor_time():
    """Of all children so far: not the time that others have the machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def wrong(function):
    """Yields what contradicts itself in a report's function."""
    if function["state"] == "refused":
        return
    ended = (function["returned"] + function["unwound"] +
             function["abandoned"])
    if ended > function["calls"]:
        yield (f"{function['function']}: {ended} ends of "
               f"{function['calls']} calls")
    for reason in ("empty", "dying"):
        if function[f"missed_{reason}"]:
            yield (f"{function['function']}: missed for reason {reason}: "
                   f"{function[f'missed_{reason}']}")


def text_of(data):
    return data.decode(errors="backslashreplace")


def finish(process, seconds=SECONDS):
    """Waits; returns exit status, output and error output."""
    try:
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        return f"still running after {seconds} s", out, err
