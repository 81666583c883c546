#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `retprobe trace` reports: tables, JSON, events, the live table."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "trace"))
import harness  # noqa: E402
from harness import RETPROBE, functions, run, trace  # noqa: E402

SAMPLE = os.environ["RETPROBE_SAMPLE"]
PLUGIN = os.environ["RETPROBE_SAMPLE_PLUGIN"]
ADD = "trace_sample:sample_add"


class Report(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def test_calls_are_counted_and_timed(self):
        _, report = trace([SAMPLE, "calls"], ["trace_sample:sample_*"])
        found = functions(report)
        self.assertEqual(found["sample_add"]["calls"], 10)
        self.assertEqual(found["sample_add"]["returned"], 10)
        self.assertEqual(found["sample_throw"]["calls"], 15)
        self.assertEqual(found["sample_throw"]["unwound"], 15)
        self.assertEqual(found["sample_throw"]["returned"], 0)
        sleep = found["sample_sleep"]
        for key in ("total_ns", "mean_ns", "min_ns", "p50_ns", "p99_ns",
                    "max_ns"):
            self.assertGreaterEqual(sleep[key], 20e6 / 1.001, key)
            self.assertLess(sleep[key], 2e9, key)
        self.assertEqual(sum(f["missed"] for f in found.values()), 0)

    def test_threads_are_added_up(self):
        _, report = trace([SAMPLE, "threads"], [ADD])
        add = functions(report)["sample_add"]
        self.assertEqual(add["calls"], 200000)
        self.assertEqual(add["returned"], 200000)
        self.assertEqual(sum(n for _, n in add["histogram"]), 200000)

    def test_the_table(self):
        result = run([RETPROBE, "trace", "-e", "trace_sample:sample_*", SAMPLE,
                      "calls"])
        lines = result.lines()
        self.assertEqual(lines[0].split(),
                         ["calls", "missed", "unwound", "total", "mean", "p50",
                          "p99", "max", "function"])
        self.assertIn("sample_sleep", lines[1])  # most time first
        self.assertEqual(len(lines), 5)
        self.assertIn("26 calls, 0 missed; 3 functions probed", lines[-1])
        columns = {line.index("trace_sample:") for line in lines[1:4]}
        self.assertEqual(columns, {lines[0].index("function")})

    def test_what_jumps_leave_is_told(self):
        result = run([RETPROBE, "trace", "-e", "trace_sample:leave_by_jump",
                      SAMPLE, "jumps"])
        head, row = (line.split() for line in result.lines()[:2])
        told = dict(zip(head, row))
        self.assertEqual((told["calls"], told["unwound"], told["abandoned"]),
                         ("15", "0", "15"))

    # Children.

    def test_children_are_not_traced_unless_followed(self):
        result, report = trace([SAMPLE, "fork"], [ADD])
        self.assertEqual(result.status, 3)
        self.assertEqual(functions(report)["sample_add"]["calls"], 2)
        self.assertEqual(len(report["processes"]), 1)

    def test_followed_children(self):
        for mode in ("fork", "fork-threads"):
            result, report = trace([SAMPLE, mode], [ADD], "--follow")
            self.assertEqual(result.status, 3)
            self.assertEqual(functions(report)["sample_add"]["calls"], 6)
            self.assertEqual(sorted(p["calls"] for p in report["processes"]),
                             [2, 4])

    def test_a_program_that_executes_another(self):
        _, report = trace([SAMPLE, "execute"], [ADD])
        self.assertEqual(functions(report)["sample_add"]["calls"], 1)
        _, report = trace([SAMPLE, "execute"], [ADD], "--follow")
        self.assertEqual(functions(report)["sample_add"]["calls"], 11)

    # Modules that come later.

    def test_modules_loaded_later(self):
        for rounds in (1, 3):
            result, report = trace([SAMPLE, "plugin", PLUGIN, str(rounds)],
                                   ["libtrace_plugin.so:*plugin_*"])
            self.assertEqual(result.out, b"%d\n" % (343 * rounds))
            self.assertEqual(result.err, b"")
            found = functions(report)
            # The first one comes from the module's constructor.
            self.assertEqual(found["plugin_offset"]["calls"], 8 * rounds)
            self.assertEqual(found["plugin_work"]["calls"], 7 * rounds)

    # Events.

    def test_events_tell_each_call(self):
        _, report = trace([SAMPLE, "calls"], ["trace_sample:sample_*"])
        result, report = trace([SAMPLE, "calls"], ["trace_sample:sample_*"],
                               "--events")
        self.assertEqual(result.status, 0)
        adds = [e for e in result.events if e["function"] == "sample_add"]
        self.assertEqual([(e["arguments"][:2], e["result"]) for e in adds],
                         [([hex(i), hex(256 + i)], hex(256 + 2 * i))
                          for i in range(10)])
        throws = [e for e in result.events if e["function"] == "sample_throw"]
        self.assertEqual([e["arguments"][0] for e in throws],
                         ["0x0", "0x1", "0x2"] * 5)
        self.assertEqual({e["end"] for e in throws}, {"unwound"})
        sleep, = (e for e in result.events if e["function"] == "sample_sleep")
        self.assertGreaterEqual(sleep["duration_ns"], 20e6 / 1.001)
        self.assertEqual(len({e["thread"] for e in result.events}), 1)
        times = [e["time_ns"] for e in adds]
        self.assertEqual(times, sorted(times))
        self.assertEqual(len(result.events), 26)
        self.assertEqual(functions(report)["sample_add"]["calls"], 10)

    def test_no_event_is_lost_when_there_are_many(self):
        result, report = trace([SAMPLE, "threads"], [ADD], "--events")
        self.assertEqual(len(result.events), 200000)
        self.assertEqual(functions(report)["sample_add"]["lost_events"], 0)
        self.assertEqual(len({e["thread"] for e in result.events}), 4)

    def test_events_as_text(self):
        result = run([RETPROBE, "trace", "--events", "-e", ADD, SAMPLE,
                      "calls"])
        self.assertRegex(
            result.lines()[0],
            r"^ *\d+\.\d{9} +\d+ trace_sample:sample_add\(0x0, 0x100, "
            r"0x[0-9a-f]+, 0x[0-9a-f]+\) = 0x100 \d+ ns returned$")

    def test_events_of_followed_children(self):
        result, _ = trace([SAMPLE, "fork"], [ADD], "--events", "--follow")
        by_process = {}
        for event in result.events:
            by_process.setdefault(event["pid"], []).append(event)
            self.assertEqual(event["pid"], event["thread"])
        self.assertEqual(sorted(map(len, by_process.values())), [2, 4])

    # The terminal.

    def test_the_live_table_is_drawn_and_wiped(self):
        for flags, drawn in ((["--live"], True), (["--no-live"], False),
                             ([], False)):
            shown = self.folder / "typescript"
            command = " ".join([RETPROBE, "trace", *flags, "-e", ADD, SAMPLE,
                                "work", "1500"])
            subprocess.run(["script", "-qc", command, str(shown)],
                           stdout=subprocess.DEVNULL, timeout=60, check=True)
            self.assertEqual(b"\x1b[J" in shown.read_bytes(), drawn, flags)


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    harness.main()
