#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which calls `retprobe trace` is told to mean, and what `retprobe list` tells
of functions that cannot be probed and of programs that are being traced."""
import json
import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "trace"))
import harness  # noqa: E402
from harness import RETPROBE, functions, run, trace  # noqa: E402

SAMPLE = os.environ["RETPROBE_SAMPLE"]
PLUGIN = os.environ["RETPROBE_SAMPLE_PLUGIN"]
ADD = "trace_sample:sample_add"
SLEEP = "libc.so.6:nanosleep"


class Choice(unittest.TestCase):
    def counts(self, command, pattern, *flags, **options):
        """Calls and missed calls by reason of one function; the report."""
        result, report = trace([SAMPLE, *command], [pattern], *flags, **options)
        self.assertEqual(result.status, 3 if "fork" in command else 0)
        function = functions(report)[pattern.split(":")[1]]
        missed = {key[7:]: value for key, value in function.items()
                  if key.startswith("missed_") and value != 0}
        self.assertEqual(function["missed"], sum(missed.values()))
        self.assertEqual(function["calls"], function["returned"] +
                         function["unwound"] + function["abandoned"])
        self.assertEqual(function["under_way"], 0)
        return function["calls"], missed, report

    def complains(self, arguments, status, *words):
        result = run([RETPROBE] + arguments)
        self.assertEqual(result.status, status, result.err)
        lines = result.lines()
        self.assertEqual(len(lines), 1, lines)
        for word in words:
            self.assertIn(word, lines[0])

    def test_the_main_thread_and_the_others(self):
        self.assertEqual(self.counts(["threads"], ADD, "--tid", "main")[:2],
                         (0, {}))
        calls, missed, report = self.counts(["threads"], ADD, "--not-tid=main")
        self.assertEqual((calls, missed), (200000, {}))
        self.assertEqual(report["only"]["threads"], ["!main"])
        self.assertEqual(self.counts(["calls"], ADD, "--tid", "1,main")[0], 10)
        self.assertEqual(self.counts(["calls"], ADD, "--tid=4194303")[0], 0)

    def test_a_followed_child_has_a_main_thread_of_its_own(self):
        self.assertEqual(
            self.counts(["fork"], ADD, "--follow", "--tid", "main")[0], 6)
        self.assertEqual(
            self.counts(["fork"], ADD, "--follow", "--not-tid", "main")[0], 0)

    def test_callers(self):
        for caller, calls in (("trace_sample:sample_sleep", 1),
                              ("trace_sample:*", 1), ("sample_sl??p", 1),
                              ("trace_sample:sample_add", 0),
                              ("libc.so.6:*", 0), ("0x1000-0x1fff", 0)):
            found, missed, report = self.counts(["calls"], SLEEP, "--caller",
                                                caller)
            self.assertEqual((found, missed), (calls, {}), caller)
            self.assertEqual(report["only"]["callers"], [caller])
        self.assertEqual(self.counts(
            ["calls"], SLEEP, "--caller", "libc.so.6:*", "--caller",
            "sample_sleep")[0], 1)

    def test_callers_in_modules_that_come_later(self):
        offset = "libtrace_plugin.so:plugin_offset"
        work = "libtrace_plugin.so:plugin_work"
        for rounds in (1, 3):
            command = ["plugin", PLUGIN, str(rounds)]
            self.assertEqual(self.counts(command, offset, "--caller",
                                         "libtrace_plugin*:*")[0], 8 * rounds)
            self.assertEqual(self.counts(command, work, "--caller",
                                         "libtrace_plugin*:*")[0], 0)
            self.assertEqual(self.counts(command, work, "--caller",
                                         "trace_sample:*")[0], 7 * rounds)

    def test_a_caller_that_is_not_there_is_told(self):
        result, report = trace([SAMPLE, "calls"], [SLEEP], "--caller",
                               "trace_sample:sample_sleeq")
        self.assertEqual(functions(report)["nanosleep"]["calls"], 0)
        self.assertEqual(len(result.lines()), 1)
        self.assertIn("did you mean 'sample_sleep'", result.lines()[0])

    def test_depth_and_limit(self):
        throw = "trace_sample:sample_throw"  # five times, three deep
        self.assertEqual(self.counts(["calls"], throw, "--depth", "2")[:2],
                         (10, {"depth": 5}))
        self.assertEqual(self.counts(["calls"], throw, "--depth=3")[:2],
                         (15, {}))
        self.assertEqual(self.counts(["calls"], throw, "--limit", "4")[:2],
                         (4, {"limit": 11}))
        calls, missed, report = self.counts(["calls"], throw, "--depth", "1",
                                            "--limit", "3")
        self.assertEqual((calls, missed), (3, {"depth": 6, "limit": 6}))
        self.assertEqual(report["only"], {"threads": [], "callers": [],
                                          "depth": 1, "limit": 3})
        self.assertEqual(self.counts(["threads"], ADD, "--limit", "777")[:2],
                         (777, {"limit": 199223}))

    def test_the_table_says_what_was_left_out(self):
        result = run([RETPROBE, "trace", "-e", "trace_sample:sample_throw",
                      "--depth", "1", "--limit", "3", "--not-tid", "1",
                      "--caller", "trace_sample:*", SAMPLE, "calls"])
        self.assertIn("3 calls, 12 missed (no instance 0, in a handler 0, "
                      "detaching 0, deeper than 1 6, after the first 3 6); ",
                      result.lines()[-1])
        self.assertTrue(result.lines()[-1].endswith(
            "; only threads not 1; only callers trace_sample:*"))

    def test_wrong_choices(self):
        for flags, words in ((["--depth", "0"], "1 .. 65535"),
                             (["--depth=65536"], "1 .. 65535"),
                             (["--limit", "many"], "--limit is 'many'"),
                             (["--tid", "first"], "'first' is no thread"),
                             (["--not-tid", "1,,2"], "'' is no thread"),
                             (["--caller", "0x1"], "0xFIRST-0xLAST"),
                             (["--caller", "f["], "bracket"),
                             (["--caller="], "--caller is empty")):
            self.complains(["trace", "-e", ADD, *flags, SAMPLE], 2, words)
        self.complains(["list", "--depth", "1", ADD, "--", SAMPLE], 2,
                       "unknown option --depth")

    def test_events_obey_the_choice_too(self):
        result, _ = trace([SAMPLE, "calls"], [ADD], "--events", "--limit", "4")
        self.assertEqual([e["arguments"][0] for e in result.events],
                         ["0x0", "0x1", "0x2", "0x3"])


class List(unittest.TestCase):
    def test_only_what_is_refused(self):
        env = dict(harness.clean_environment(),
                   RETPROBE_OPTIONS="probe.blacklist=sample_add;sample_s*")
        command = [RETPROBE, "list", "--refused", "trace_sample:sample_*",
                   "libc.so.6:vfork", "--", SAMPLE, "calls"]
        result = run(command, env=env)
        self.assertEqual((result.status, result.err), (0, b""))
        *functions, summary = result.out.decode().splitlines()
        # Modules are in the order of their paths, and the sample's depends on
        # where the project lies.
        self.assertEqual(sorted(functions), [
            "refuse  libc.so.6:vfork: vfork may return twice into the same "
            "frame",
            "refuse  trace_sample:sample_add: sample_add is on the blacklist "
            "(probe.blacklist: sample_add)",
            "refuse  trace_sample:sample_sleep: sample_sleep is on the "
            "blacklist (probe.blacklist: sample_s*)"])
        self.assertEqual(summary, "3 functions cannot be probed")
        command.insert(3, "--json")
        refused = json.loads(run(command, env=env).out)["functions"]
        self.assertEqual({f["state"] for f in refused}, {"refused"})

    def test_trace_obeys_the_blacklist(self):
        env = dict(harness.clean_environment(),
                   RETPROBE_OPTIONS="probe.blacklist=trace_sample:*_add")
        _, report = trace([SAMPLE, "calls"], ["trace_sample:sample_*"], env=env)
        found = functions(report)
        self.assertEqual(found["sample_add"]["state"], "refused")
        self.assertEqual(found["sample_sleep"]["calls"], 1)

    def test_a_symbol_with_an_offset(self):
        result = run([RETPROBE, "list", ADD + "+0x0", "sample_throw+0x2", "--",
                      SAMPLE])
        self.assertIn("refuse  trace_sample:sample_throw: sample_throw+0x2 is "
                      "not where sample_throw is entered; a return probe "
                      "stands at sample_throw", result.out.decode())
        self.assertIn("probe   trace_sample:sample_add\n", result.out.decode())

    def test_a_traced_program_can_be_looked_into(self):
        command = subprocess.Popen(
            [RETPROBE, "trace", "-e", "trace_sample:sample_*", "-e",
             "libc.so.6:pause", "-e", "libc.so.6:vfork", SAMPLE, "wait"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(command.stdout.readline(), b"waiting\n")
        children = pathlib.Path(
            f"/proc/{command.pid}/task/{command.pid}/children")
        pid = children.read_text().split()[0]
        # It may not be in pause yet.
        for _ in range(600):
            result = run([RETPROBE, "list", "--attached", pid, "--json"])
            self.assertEqual((result.status, result.err), (0, b""))
            found = functions(json.loads(result.out))
            if found["pause"]["under_way"] == 1:
                break
        self.assertEqual(found["pause"]["calls"], 1)
        self.assertEqual(found["pause"]["under_way"], 1)
        self.assertEqual(found["sample_add"]["calls"], 1)
        self.assertEqual(found["sample_add"]["under_way"], 0)
        self.assertEqual(found["vfork"]["state"], "refused")
        lines = run([RETPROBE, "list", "--attached=" + pid]).out.decode()
        self.assertRegex(lines, r"\n *probed +1 +1 +0 .* libc\.so\.6:pause\n")
        self.assertIn("2 calls, 0 missed; 4 functions probed", lines)
        command.terminate()
        command.communicate(timeout=60)

    def test_a_program_that_nobody_traces(self):
        for pid, words in ((os.getpid(), "has no agent"),
                           (4194303, "no process 4194303")):
            result = run([RETPROBE, "list", "--attached", str(pid)])
            self.assertEqual(result.status, 125)
            self.assertIn(words, result.lines()[0])
        for arguments in (["--attached", "x"], ["--attached", "1", "malloc"],
                          ["--attached", "-1"]):
            self.assertEqual(run([RETPROBE, "list", *arguments]).status, 2)


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    harness.main()
