#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`retprobe config`, its manual page, and `retprobe trace` under options."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "trace"))
import harness  # noqa: E402
from harness import RETPROBE, clean_environment, functions, run, trace  # noqa: E402

SAMPLE = os.environ["RETPROBE_SAMPLE"]
MAN = HERE.parent / "man"
ADD = "trace_sample:sample_add"
THROW = "trace_sample:sample_throw*"


def environment(file=None, options=None):
    env = clean_environment()
    for name, value in (("RETPROBE_CONFIG", file),
                        ("RETPROBE_OPTIONS", options)):
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return env


class Configured(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, text):
        path = self.folder / "pools.toml"
        path.write_text(text)
        return str(path)

    def config(self, *arguments, **sources):
        return run([RETPROBE, "config", *arguments],
                   env=environment(**sources))

    def shown(self, **sources):
        result = self.config("--show", "--json", **sources)
        self.assertEqual((result.status, result.err), (0, b""))
        return {o["name"]: o for o in json.loads(result.out)["options"]}

    def complains(self, result, *lines):
        self.assertEqual((result.status, result.out), (2, b""))
        self.assertEqual(result.lines(),
                         ["retprobe: " + line for line in lines])


class Showing(Configured):
    def test_without_anything_all_is_default(self):
        options = self.shown()
        self.assertEqual({o["source"] for o in options.values()}, {"default"})
        self.assertEqual(options["pool.objects"]["value"], "auto")
        self.assertIs(options["pool.push_home"]["value"], True)
        self.assertEqual(options["probe.data_size_limit"]["value"], (1 << 30) - 4096)
        self.assertEqual(self.shown(file="", options=""), options)

    def test_each_value_tells_where_it_comes_from(self):
        file = self.file("[pool]\nobjects = '64k'\nbackend = 'cas'\n")
        options = self.shown(file=file, options="pool.objects=7")
        self.assertEqual(options["pool.objects"],
                         {"name": "pool.objects", "value": 7,
                          "source": "RETPROBE_OPTIONS"})
        self.assertEqual(options["pool.backend"],
                         {"name": "pool.backend", "value": "cas",
                          "source": "file", "file": file, "line": 3})
        self.assertEqual(self.shown(file=file)["pool.objects"]["value"], 65536)

    def test_the_table_says_the_same(self):
        file = self.file("[pool]\nobjects = '64k'\n")
        for arguments in ([], ["--show"]):
            result = self.config(*arguments, file=file,
                                 options="pool.placement=node=3")
            self.assertEqual((result.status, result.err), (0, b""))
            lines = [line.split() for line in result.out.decode().splitlines()]
            self.assertEqual(lines[0], ["option", "value", "from"])
            self.assertIn(["pool.objects", "65536", file + ":2"], lines)
            self.assertIn(["pool.placement", "node=3", "RETPROBE_OPTIONS"],
                          lines)
            self.assertIn(["probe.maxactive", "0", "default"], lines)
            self.assertEqual(len(lines), 1 + len(self.shown()))

    def test_all_that_is_wrong_is_told(self):
        file = self.file("[pool]\nobjectz = 1\nbackend = 3\n")
        self.complains(
            self.config(file=file, options="probe.maxactive=many"),
            f"{file}:2:1: pool.objectz: unknown key; the nearest is "
            "pool.objects",
            f"{file}:3:11: pool.backend: is an integer; expected auto, rseq, "
            "cas, percpu_freelist or freelist",
            'RETPROBE_OPTIONS:1:17: probe.maxactive: "many" is not a number; '
            "expected 0 .. 2147483647 calls")
        self.complains(self.config("--json", file="/no/such.toml"),
                       "/no/such.toml: cannot be read (No such file or "
                       "directory); expected a TOML file")

    def test_output_that_cannot_be_written(self):
        with open("/dev/full", "wb") as full:
            for argument in ("--show", "--list", "--help"):
                process = subprocess.run([RETPROBE, "config", argument],
                                         env=environment(), stdout=full)
                self.assertEqual(process.returncode, 125)


class Explaining(Configured):
    def options(self):
        result = self.config("--list", "--json")
        self.assertEqual((result.status, result.err), (0, b""))
        return json.loads(result.out)["options"]

    def test_list_and_explain_say_what_the_table_says(self):
        table = self.config("--list").out.decode()
        for option in self.options():
            self.assertRegex(table, r"(?m)^%s +\S+ +%s$" % (
                re.escape(option["name"]), re.escape(option["may_be"])))
            text = self.config("--explain", option["name"]).out.decode()
            self.assertTrue(text.startswith(option["name"] + "\n"))
            self.assertIn(option["help"], " ".join(text.split()))
            self.assertIn(option["may_be"], text)
            self.assertLess(max(map(len, text.splitlines())), 80)
            one = self.config("--explain=" + option["name"], "--json")
            self.assertEqual(json.loads(one.out)["options"], [option])

    def test_an_unknown_option(self):
        self.complains(self.config("--explain", "max_object"),
                       "no option max_object; the nearest is "
                       "pool.max_objects")
        self.complains(self.config("--explain", "nothing_like_it"),
                       "no option nothing_like_it; retprobe config --list "
                       "shows all")

    def test_a_wrong_configuration_does_not_keep_it_from_explaining(self):
        for arguments in (["--list"], ["--explain", "pool.backend"],
                          ["--help"]):
            result = self.config(*arguments, options="nonsense")
            self.assertEqual((result.status, result.err), (0, b""))

    def test_help(self):
        for arguments in (["--help"], ["-h"], ["--list", "--help"]):
            result = self.config(*arguments)
            self.assertEqual((result.status, result.err), (0, b""))
            self.assertTrue(result.out.startswith(b"Usage: retprobe config"))
        self.assertIn(b"\n  config ", run([RETPROBE, "--help"]).out)

    def test_wrong_command_lines(self):
        for arguments, words in (
                (["--wrong"], "unknown option --wrong"),
                (["--list=3"], "unknown option --list=3"),
                (["file"], "unexpected file"),
                (["--check"], "--check wants a value"),
                (["--check="], "--check wants a value"),
                (["--explain"], "--explain wants a value"),
                (["--show", "--list"], "--show and --list are two wishes")):
            self.complains(self.config(*arguments),
                           words + "; see retprobe config --help")

    def test_the_manual_page_says_what_the_table_says(self):
        page = (MAN / "retprobe.conf.5").read_text()
        section = page.split(".SH OPTIONS\n")[1].split(".SH ")[0]
        expected = ""
        for option in self.options():
            default = option["default"]
            if isinstance(default, bool):
                default = str(default).lower()
            expected += (f".TP\n.B {option['name']}\n" +
                         option["help"].replace(". ", ".\n") +
                         f"\n.br\nMay be {option['may_be']}; "
                         f"default {default}.\n")
        self.assertEqual(section, expected)


class Checking(Configured):
    def test_a_file_that_is_right(self):
        for text in ("", "[pool]\nobjects = 1\n"):
            file = self.file(text)
            result = self.config("--check", file)
            self.assertEqual((result.status, result.err), (0, b""))
            self.assertEqual(result.out.decode(),
                             file + ": nothing is wrong\n")
            result = self.config("--check", file, "--json", options="bad")
            self.assertEqual(result.status, 0)
            self.assertEqual(json.loads(result.out),
                             {"file": file, "errors": []})

    def test_all_that_is_wrong_with_a_file_is_told(self):
        file = self.file("[probe]\nmaxactive = -1\n[pools]\n")
        errors = [
            f"{file}:2:13: probe.maxactive: -1 is out of range; expected 0 .. "
            "2147483647 calls",
            f"{file}:3:2: pools: unknown section; expected [pool] or [probe]"
        ]
        self.complains(self.config("--check", file), *errors)
        result = self.config("--check=" + file, "--json")
        self.assertEqual((result.status, result.err), (2, b""))
        self.assertEqual(json.loads(result.out),
                         {"file": file, "errors": errors})

    def test_the_manual_page_s_examples_are_right(self):
        page = (MAN / "retprobe.conf.5").read_text()
        example = page.split(".SH EXAMPLES\n.nf\n")[1].split(".fi\n")[0]
        options = self.shown(file=self.file(example))
        self.assertEqual(options["pool.max_objects"]["value"], 1 << 20)
        self.assertEqual(options["probe.maxactive"]["value"], 100)
        line = page.split(".SH ERRORS\n")[1].split(".nf\n")[1].split("\n")[0]
        file = self.file('[pool]\nobjects = 1\nbackend = "rsec"\n')
        self.complains(self.config("--check", file),
                       line.replace("pools.toml", file))


class Tracing(Configured):
    def test_a_wrong_configuration_starts_nothing(self):
        witness = self.folder / "started"
        for command in (["trace", "-e", "touch:*", "--"],
                        ["list", "touch:*", "--"]):
            result = run([RETPROBE, *command, "touch", str(witness)],
                         env=environment(options="pool.objects=1,x=2,y=3"))
            self.complains(result, "RETPROBE_OPTIONS:1:16: x: unknown key; "
                           "retprobe config --list shows all (and 1 more)")
            self.assertFalse(witness.exists())

    def test_the_sizes_of_pools_are_obeyed(self):
        # One pool for what retprobe itself probes, one for the patterns.
        file = self.file("[pool]\nobjects = 5\nmax_objects = 6\n")
        for options, instances in ((None, 10), ("pool.objects=4", 8)):
            _, report = trace([SAMPLE, "calls"], [ADD],
                              env=environment(file=file, options=options))
            self.assertEqual(report["instances"], instances)
            self.assertEqual(functions(report)["sample_add"]["calls"], 10)

    def test_a_node_that_is_not_there(self):
        result = trace([SAMPLE, "calls"], [ADD], report=False,
                       env=environment(options="pool.placement=node=1023"))
        self.assertEqual(result.status, 125)
        self.assertIn("node is 1023", result.lines()[0])

    def test_maxactive_is_obeyed(self):
        def missed(options):
            _, report = trace([SAMPLE, "calls"], [THROW],
                              env=environment(options=options))
            function, = report["functions"]
            return function["calls"], function["missed_empty"]
        self.assertEqual(missed(None), (15, 0))
        self.assertEqual(missed("probe.maxactive=1"), (5, 10))

    def test_the_limit_of_data_is_obeyed(self):
        result = trace([SAMPLE, "calls"], [ADD], report=False,
                       env=environment(options="probe.data_size_limit=15"))
        self.assertEqual(result.status, 125)
        self.assertIn("probe.data_size_limit", result.lines()[0])

    def test_followed_programs_have_the_same_options(self):
        _, report = trace([SAMPLE, "execute"], [ADD], "--follow",
                          env=environment(options="pool.objects=3"))
        self.assertEqual(len(report["processes"]), 2)
        self.assertEqual(report["instances"], 12)

    def test_the_program_s_environment_is_its_own(self):
        file = self.file("[pool]\nobjects = 5\n")
        env = environment(file=file, options="pool.objects=4")
        result, _ = trace(["env"], ["libc.so.6:malloc"], env=env)
        for line in (f"RETPROBE_CONFIG={file}",
                     "RETPROBE_OPTIONS=pool.objects=4"):
            self.assertIn(line, result.out.decode().splitlines())


if __name__ == "__main__":
    harness.main()
