# SPDX-License-Identifier: Apache-2.0
"""The programs: what each does, and what of it must not change."""
import dataclasses
import pathlib
import random
import re
import xml.etree.ElementTree
from collections.abc import Callable

import servers
from runs import Run

HERE = pathlib.Path(__file__).resolve().parent
__all__ = ["ALL", "Run"]


@dataclasses.dataclass
class Workload:
    name: str
    work: Callable  # (Run)
    patterns: list  # besides libc and libstdc++
    children: bool = True  # has some to follow


def bash(run):
    turns = "2" if run.small else "20"
    run.execute("script", ["bash", str(HERE / "script.bash"), turns])
    run.note_files()


def git(run):
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b",
             "GIT_COMMITTER_NAME": "c", "GIT_COMMITTER_EMAIL": "c@d"}
    run.env.update(names, GIT_AUTHOR_DATE="2020-01-01T00:00:00Z",
                   GIT_COMMITTER_DATE="2020-01-01T00:00:00Z",
                   GIT_CONFIG_COUNT="2", GIT_CONFIG_KEY_0="pack.threads",
                   GIT_CONFIG_VALUE_0="1",
                   GIT_CONFIG_KEY_1="init.defaultBranch",
                   GIT_CONFIG_VALUE_1="main")
    origin, clone = run.work / "origin", run.work / "clone"

    def command(*arguments, folder=origin):
        run.execute(" ".join(arguments), ["git", "-C", str(folder),
                                          *arguments])

    command("init", "origin", folder=run.work)
    generator = random.Random(1)
    for commit in range(4):
        for number in range(15):
            lines = [f"{generator.randrange(50)} line {i}\n"
                     for i in range(200)]
            (origin / f"file{number}").write_text("".join(lines))
        command("add", ".")
        command("commit", "-m", f"commit {commit}")
    command("log", "-p", "--stat")
    command("diff", "HEAD~2", "--word-diff")
    command("blame", "file3")
    command("gc", "--quiet")
    command("fsck", "--full")
    command("clone", "origin", "clone", folder=run.work)
    command("checkout", "-b", "side", "HEAD~2", folder=clone)
    (clone / "file1").write_text("other\n")
    command("commit", "-am", "side", folder=clone)
    command("merge", "main", folder=clone)  # stops: conflict
    command("status", folder=clone)
    command("grep", "-c", "7 line", "HEAD", folder=clone)
    command("show", "no-such-revision", folder=clone)  # fails
    command("ls-files", "-s", folder=clone)
    run.note_files("index")  # which holds times and inode numbers


def compile_with(compiler, source, *options):
    def work(run):
        path = str(HERE / source)
        run.execute("compile", [compiler, *options, "-Wall", "-Wextra", "-c",
                                "-o", "object.o", path])
        run.execute("link", [compiler, "-o", "program", "object.o", "-lm"])
        run.execute("the program", [str(run.work / "program")])
        # Fails, with diagnostics.
        run.execute("a mistake", [compiler, "-S", "-DMISTAKE", path])
        run.note_files()

    return work


def sqlite3(run):
    generator = random.Random(1)
    rows = 1000 if run.small else 100000
    script = run.folder / "script.sql"
    with open(script, "w") as file:
        file.write("create table t(id integer primary key, k integer, v text);"
                   "\ncreate index i on t(k);\nbegin;\n")
        for _ in range(rows):
            file.write(f"insert into t(k, v) values "
                       f"({generator.randrange(1000)}, "
                       f"'{generator.random()}');\n")
        file.write("commit;\n")
        for key in range(0, 1000, 4):
            file.write(f"select count(*), max(v) from t where k = {key};\n")
        file.write((HERE / "queries.sql").read_text())
    with open(script, "rb") as file:
        run.execute("sqlite3", ["sqlite3", "database"], stdin=file)
    run.note_files()


def python_tests(module):
    def work(run):
        results = run.folder / "results.xml"
        command = ["/usr/bin/python3.11", "-m", "test", "--junit-xml",
                   str(results), "--tempdir", str(run.work), module]
        run.execute("tests", command)
        # With times, and in whatever order the threads write.
        for stream in ("output", "error"):
            run.seen.pop(f"tests: standard {stream}")
        run.note("tests", results_in(results))

    return work


def results_in(path):
    """One line for each case: its name and what came of it."""
    lines = []
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        ends = [child.tag for child in case
                if child.tag in ("error", "failure", "skipped")]
        name = re.sub(r" at 0x[0-9a-f]+", "", case.get("name", "?"))
        lines.append(f"{name}: {' '.join(ends) or case.get('result')}\n")
    path.unlink()
    return "".join(sorted(lines))


GCC = ["x86_64-linux-gnu-*:*", "cc1*:*", "collect2:*", "program:*"]

ALL = {workload.name: workload for workload in [
    Workload("bash", bash, ["bash:*"]),
    Workload("git", git, ["git*:*"]),
    Workload("gcc", compile_with("gcc", "source.c", "-O2", "-g"), GCC),
    Workload("g++", compile_with("g++", "source.cc"), GCC),
    Workload("sqlite3", sqlite3, ["sqlite3:*", "libsqlite3.so.0:*"],
             children=False),
    Workload("redis", servers.redis, ["redis-*:*"]),
    Workload("nginx", servers.nginx, ["nginx:*"]),
    *(Workload(f"python-{part}", python_tests(f"test_{part}"),
               ["python3.11:*"])
      for part in ("threading", "signal", "subprocess", "ctypes", "json")),
]}
