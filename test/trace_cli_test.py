#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `retprobe` says, and how it ends, in every case it documents."""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "trace"))
import harness  # noqa: E402
from harness import RETPROBE, functions, run, trace  # noqa: E402

SAMPLE = os.environ["RETPROBE_SAMPLE"]
STATIC = os.environ["RETPROBE_SAMPLE_STATIC"]
ADD = "trace_sample:sample_add"

# Makes a system call fail with EPERM (a seccomp filter), then executes.
SYSTEM_CALL_REFUSED = """
import ctypes, os, struct, sys
code = [(0x20, 0, 0, 0), (0x15, 0, 1, {call}), (6, 0, 0, 0x50001),
        (6, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(
    b"".join(struct.pack("<HBBI", *line) for line in code))
program = struct.pack("<HxxxxxxQ", 4, ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


class Command(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def complains(self, arguments, status, *words, **options):
        """One line on standard error, with the words, and the status."""
        result = run([RETPROBE] + arguments, **options)
        self.assertEqual(result.status, status, result.err)
        lines = result.lines()
        self.assertEqual(len(lines), 1, lines)
        self.assertTrue(lines[0].startswith("retprobe: "), lines)
        for word in words:
            self.assertIn(word, lines[0])
        return result

    # Command lines.

    def test_wrong_command_lines(self):
        self.complains([], 2, "no command")
        self.complains(["tarce"], 2, "tarce", "--help")
        self.complains(["trace", "-e", "malloc"], 2, "no program")
        self.complains(["trace", "true"], 2, "no pattern")
        self.complains(["trace", "-e"], 2, "-e wants a value")
        self.complains(["trace", "--wrong", "true"], 2, "--wrong")
        self.complains(["trace", "--probe=", "true"], 2, "empty")
        self.complains(["list", "malloc"], 2, "no program")
        self.complains(["list", "--events", "x", "--", "true"], 2, "--events")
        self.complains(["trace", "-e", "libc:[a", "true"], 2, "libc:[a")

    def test_every_spelling_of_an_option(self):
        for option in (["-e", ADD], ["-e" + ADD], ["--probe", ADD],
                       ["--probe=" + ADD]):
            result = run([RETPROBE, "trace", *option, SAMPLE, "calls"])
            self.assertEqual(result.status, 0)
            self.assertIn("trace_sample:sample_add", result.err.decode())

    def test_help_and_version(self):
        for arguments in (["--help"], ["trace", "--help"], ["list", "--help"]):
            result = run([RETPROBE] + arguments)
            self.assertEqual((result.status, result.err), (0, b""))
            self.assertIn(b"Usage: retprobe", result.out)
        self.assertRegex(run([RETPROBE, "--version"]).out.decode(),
                         r"^retprobe \d+\.\d+\.\d+\n$")

    # Programs that cannot be traced.

    def test_a_program_that_does_not_exist(self):
        self.complains(["trace", "-e", "malloc", "--", "no-such-program"],
                       127, "no-such-program", "not found")
        self.complains(["trace", "-e", "malloc", "--", "/no/such"], 127,
                       "/no/such")

    def test_a_program_that_cannot_be_executed(self):
        path = self.folder / "text"
        path.write_text("hello")
        self.complains(["trace", "-e", "malloc", "--", str(path)], 126,
                       "ermission denied")
        self.complains(["trace", "-e", "malloc", "--", str(self.folder)], 126,
                       "directory")

    def test_a_static_program(self):
        self.complains(["trace", "-e", "malloc", "--", STATIC], 125,
                       "statically linked")

    def test_a_program_of_another_kind(self):
        path = self.folder / "other"
        head = bytearray(pathlib.Path(SAMPLE).read_bytes())
        head[18] = 183  # e_machine: AArch64
        path.write_bytes(head)
        path.chmod(0o755)
        self.complains(["trace", "-e", "malloc", "--", str(path)], 125,
                       "64-bit x86")

    @unittest.skipIf(os.geteuid() != 0, "making such a program needs root")
    def test_a_set_user_id_program(self):
        path = self.folder / "privileged"
        shutil.copy(SAMPLE, path)
        os.chown(path, 12345, 12345)
        path.chmod(0o4755)
        self.complains(["trace", "-e", "malloc", "--", str(path)], 125,
                       "set-user-ID")

    def test_a_script_is_its_interpreter(self):
        path = self.folder / "script"
        path.write_text(f"#!{SAMPLE} calls\n")
        path.chmod(0o755)
        result, report = trace([str(path)], [ADD])
        self.assertEqual(result.status, 0)
        self.assertEqual(functions(report)["sample_add"]["calls"], 10)
        path.write_text(f"#!{STATIC}\n")
        self.complains(["trace", "-e", "malloc", "--", str(path)], 125,
                       "interpreter", "statically linked")
        path.write_text("exit 4\n")
        self.assertEqual(trace([str(path)], ["libc.so.6:malloc"])[0].status, 4)

    def test_an_agent_that_is_not_there(self):
        env = dict(harness.clean_environment(), RETPROBE_AGENT="/no/agent.so")
        self.complains(["trace", "-e", "malloc", "--", SAMPLE], 125,
                       "/no/agent.so", env=env)

    def test_an_output_that_cannot_be_written(self):
        self.complains(["trace", "-e", ADD, "-o", "/no/where", SAMPLE], 125,
                       "/no/where")

    # Patterns.

    def test_a_pattern_that_matches_nothing(self):
        self.complains(["trace", "-e", "libc.so.6:mallocx", SAMPLE, "calls"],
                       125, "libc.so.6:mallocx", "malloc")
        self.complains(["trace", "-e", "libc.so.6:nothing*", SAMPLE, "calls"],
                       125, "libc.so.6:nothing*")
        result = self.complains(
            ["list", "libc.so.6:nothing*", "--", SAMPLE, "calls"], 125,
            "libc.so.6:nothing*")
        self.assertEqual(result.out, b"")

    def test_a_module_that_never_comes(self):
        result = self.complains(
            ["trace", "-e", "libnever.so:*", SAMPLE, "calls"], 125,
            "libnever.so:*")
        self.assertEqual(result.out, b"2655\n")  # it may have come
        self.complains(["trace", "-e", "libnever.so:*", SAMPLE], 98,
                       "libnever.so:*")

    def test_one_of_several_patterns_matches_nothing(self):
        result, report = trace([SAMPLE, "calls"], [ADD, "libc.so.6:mallocx"])
        self.assertEqual(result.status, 0)
        self.assertEqual(len(result.lines()), 1)
        self.assertIn("libc.so.6:mallocx", result.lines()[0])
        self.assertEqual([p["functions"] for p in report["patterns"]], [1, 0])

    def test_a_function_that_cannot_be_probed(self):
        self.complains(["trace", "-e", "libc.so.6:vfork", SAMPLE, "calls"],
                       125, "libc.so.6:vfork", "twice")

    def test_a_program_whose_limits_leave_no_room(self):
        for limit, size, word in (
                (resource.RLIMIT_FSIZE, 100000, "limits"),
                (resource.RLIMIT_AS, 300 << 20, "address space")):
            self.complains(
                ["trace", "-e", "libc.so.6:m*", SAMPLE, "calls"], 125, word,
                preexec_fn=lambda limit=limit, size=size: resource.setrlimit(
                    limit, (size, size)))

    def test_list_shows_what_would_be_probed(self):
        result = run([RETPROBE, "list", "libc.so.6:*jmp*", "vfork", ADD, "--",
                      SAMPLE, "calls"])
        self.assertEqual((result.status, result.err), (0, b""))
        text = result.out.decode()
        self.assertIn("probe   trace_sample:sample_add\n", text)
        self.assertIn("probe   libc.so.6:_setjmp (jump, entry only)\n", text)
        self.assertRegex(text, r"refuse  libc\.so\.6:vfork: .*twice")
        self.assertNotIn("2655", text)  # main did not run
        result = run([RETPROBE, "list", "--json", ADD, "--", SAMPLE])
        self.assertEqual(json.loads(result.out)["probed"], 1)

    def test_list_counts_what_can_be_probed(self):
        result = run([RETPROBE, "list", "--reach", "libc.so.6:*", "--", SAMPLE])
        self.assertEqual((result.status, result.err), (0, b""))
        self.assertIn("in new threads before", result.out.decode())
        result = run([RETPROBE, "list", "--reach", "--json", "libc.so.6:*",
                      "--", SAMPLE])
        libc, = json.loads(result.out)["modules"]
        for size, least in ("large", 0.995), ("small", 0.9):
            with self.subTest(size=size):
                counts = libc[size]
                self.assertGreaterEqual(
                    counts["attachable"], least * counts["functions"])
                self.assertLessEqual(counts["int3"],
                                     0.02 * counts["functions"])
                self.assertEqual(counts["attachable"] + counts["refused"],
                                 counts["functions"])
        self.assertEqual(sum(r["count"] for r in libc["refused"]),
                         libc["large"]["refused"] + libc["small"]["refused"])

    # How programs end.

    def test_exit_statuses_are_passed_on(self):
        for status in (0, 1, 2, 42, 125, 126, 127, 255):
            result, report = trace([SAMPLE, "exit", str(status)], [ADD])
            self.assertEqual((result.status, result.err), (status, b""))
            self.assertEqual(functions(report)["sample_add"]["calls"], 1)

    def test_ends_by_signals_are_passed_on(self):
        for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV,
                       signal.SIGABRT, signal.SIGINT, signal.SIGPIPE,
                       signal.SIGUSR1, signal.SIGRTMIN):
            result, report = trace([SAMPLE, "signal", str(int(number))], [ADD])
            self.assertEqual((result.status, result.err), (-number, b""))
            self.assertEqual(functions(report)["sample_add"]["calls"], 1)

    def test_the_status_is_known_though_dead_children_are_ignored(self):
        result = run([RETPROBE, "trace", "-o", "/dev/null", "-e", ADD, SAMPLE,
                      "exit", "42"],
                     preexec_fn=lambda: signal.signal(signal.SIGCHLD,
                                                      signal.SIG_IGN))
        self.assertEqual(result.status, 42)
        for action in (signal.SIG_IGN, signal.SIG_DFL):
            result, _ = trace(
                ["grep", "SigIgn", "/proc/self/status"], ["libc.so.6:malloc"],
                preexec_fn=lambda a=action: signal.signal(signal.SIGCHLD, a))
            ignored = int(result.out.split()[1], 16) >> (signal.SIGCHLD - 1)
            self.assertEqual(ignored & 1, action == signal.SIG_IGN)

    def test_without_pidfds_the_end_is_seen(self):
        refuse = SYSTEM_CALL_REFUSED.format(call=434)  # pidfd_open
        result, report = trace([SAMPLE, "exit", "42"], [ADD],
                               wrapper=[sys.executable, "-c", refuse])
        self.assertEqual((result.status, result.err), (42, b""))
        self.assertEqual(functions(report)["sample_add"]["calls"], 1)

    def test_signals_to_the_command_reach_the_program(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            command = subprocess.Popen(
                [RETPROBE, "trace", "-e", ADD, SAMPLE, "wait"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                # Ignored in background jobs and under nohup.
                preexec_fn=lambda n=number: signal.signal(n, signal.SIG_DFL))
            self.assertEqual(command.stdout.readline(), b"waiting\n")
            command.send_signal(number)
            _, err = command.communicate(timeout=20)
            self.assertEqual(command.returncode, -number)
            self.assertIn(b"sample_add", err)

    def test_a_command_that_is_killed_leaves_the_program_alone(self):
        command = subprocess.Popen(
            [RETPROBE, "trace", "-e", ADD, "--events", "-o", "/dev/null",
             SAMPLE, "work", "300"], stdout=subprocess.PIPE)
        time.sleep(0.2)
        begin = time.monotonic()
        command.kill()
        command.stdout.read()  # until the program has closed it
        command.wait()
        self.assertLess(time.monotonic() - begin, 20)

    def test_the_session_leaves_nothing_behind(self):
        env = dict(harness.clean_environment(), TMPDIR=str(self.folder))
        trace([SAMPLE, "calls"], [ADD], env=env)
        trace([SAMPLE, "signal", "9"], [ADD], env=env)
        run([RETPROBE, "trace", "-e", "nothing", SAMPLE], env=env)
        self.assertEqual(list(self.folder.iterdir()), [])

    # What programs see.

    def test_the_environment_is_the_users(self):
        env = harness.clean_environment()
        for preload in (None, "", "libm.so.6", "libm.so.6:libz.so.1"):
            env.pop("LD_PRELOAD", None)
            if preload is not None:
                env["LD_PRELOAD"] = preload
            plain = run([SAMPLE, "environment"], env=env)
            result, _ = trace([SAMPLE, "environment"], ["libc.so.6:puts"],
                              env=env)
            self.assertEqual(result.out, plain.out)

    def test_descriptors_and_signal_masks_are_the_users(self):
        script = ("ls -l /proc/self/fd | awk '{print $9}'; "
                  "grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status")
        command = ["sh", "-c", script]
        self.assertEqual(trace(command, ["libc.so.6:read"])[0].out,
                         run(command).out)

    def test_standard_input_is_the_programs(self):
        result = subprocess.run(
            [RETPROBE, "trace", "-e", "libc.so.6:read", "cat"],
            input=b"x" * 100000, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.assertEqual(result.stdout, b"x" * 100000)


if __name__ == "__main__":
    os.environ.pop("LD_PRELOAD", None)
    harness.main()
