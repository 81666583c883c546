#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Real programs do the same, byte for byte, with 200 functions probed."""
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "trace"))
import harness  # noqa: E402

PYTHON = "/usr/bin/python3"
MEGABYTES = 24


class Programs(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def same(self, command, calls, *flags, **options):
        """Runs `command` plainly and traced. `calls`: at least so many."""
        plain = harness.run(command, **options)
        traced, report = harness.trace(command, harness.MANY, *flags,
                                       **options)
        self.assertEqual(traced.status, plain.status, traced.err[-2000:])
        self.assertEqual(traced.out, plain.out)
        self.assertEqual(traced.err, plain.err)
        self.assertGreaterEqual(report["probed"], 200)
        self.assertEqual(report["errors"], [])
        self.assertEqual(report["warnings"], [])
        hot = [f for f in report["functions"] if f.get("calls", 0) > 0]
        self.assertGreaterEqual(sum(f["calls"] for f in hot), calls)
        for function in hot:
            ended = function["returned"] + function["unwound"]
            self.assertLessEqual(ended + function["abandoned"],
                                 function["calls"], function)
            self.assertEqual(function["missed_empty"], 0, function)
            self.assertEqual(function["missed_dying"], 0, function)
            if ended:
                self.assertLessEqual(function["min_ns"], function["p50_ns"])
                self.assertLessEqual(function["p50_ns"], function["p99_ns"])
                self.assertLessEqual(function["p99_ns"], function["max_ns"])
        return report

    def test_bash_runs_a_script_with_pipes_and_subshells(self):
        script = str(HERE / "trace/script.sh")
        report = self.same(["bash", script], 10000)
        self.assertEqual(len(report["processes"]), 1)

    def test_bash_and_all_its_children(self):
        script = str(HERE / "trace/script.sh")
        report = self.same(["bash", script], 20000, "--follow")
        self.assertGreater(len(report["processes"]), 20)

    def test_python_with_threads_processes_and_exceptions(self):
        program = str(HERE / "trace/program.py")
        self.same([PYTHON, program], 50000)

    def test_python_and_all_its_children(self):
        program = str(HERE / "trace/program.py")
        report = self.same([PYTHON, program], 50000, "--follow")
        self.assertGreater(len(report["processes"]), 10)

    def test_git_log_and_diff(self):
        repository = self.folder / "repository"
        env = harness.clean_environment()
        for role in ("AUTHOR", "COMMITTER"):
            env.update({f"GIT_{role}_NAME": "a", f"GIT_{role}_EMAIL": "a@b",
                        f"GIT_{role}_DATE": "2020-01-01T00:00:00Z"})
        git = ["git", "-C", str(repository)]
        subprocess.run(["git", "init", "-q", str(repository)], env=env,
                       check=True)
        random.seed(1)
        for commit in range(12):
            for number in range(15):
                lines = [f"{random.randrange(50)} line {i}\n"
                         for i in range(100)]
                (repository / f"file{number}").write_text("".join(lines))
            subprocess.run(git + ["add", "."], env=env, check=True)
            subprocess.run(git + ["commit", "-q", "-m", f"commit {commit}"],
                           env=env, check=True)
        self.same(git + ["log", "-p", "--stat"], 100000, env=env)
        self.same(git + ["diff", "HEAD~7", "--word-diff"], 50000, env=env)
        self.same(git + ["fsck", "--full"], 1000, env=env)
        self.same(git + ["show", "no-such-revision"], 1000, env=env)

    def big_file(self):
        random.seed(2)
        words = ["".join(random.choices("abcdefgh", k=random.randint(2, 9)))
                 for _ in range(5000)]
        path = self.folder / "big"
        with open(path, "w") as file:
            while file.tell() < MEGABYTES << 20:
                file.write("".join(f"{' '.join(random.choices(words, k=8))}\n"
                                   for _ in range(5000)))
        return path

    def test_sort_and_xz_on_tens_of_megabytes(self):
        path = self.big_file()
        self.same(["sort", str(path)], 100)
        self.same(["sort", "--parallel=2", "-S", "4M", "-T",
                   str(self.folder), "-k2", str(path)], 1000)
        self.same(["xz", "-0", "-T2", "-c", str(path)], 100)
        packed = path.with_suffix(".xz")
        with open(packed, "wb") as file:
            subprocess.run(["xz", "-0", "-c", str(path)], stdout=file,
                           check=True)
        self.same(["xz", "-dc", str(packed)], 100)


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    harness.main()
