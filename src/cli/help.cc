// SPDX-License-Identifier: Apache-2.0
#include "absl/strings/str_cat.h"
#include "cli/options.h"

namespace retprobe::cli {

std::string GeneralHelp() {
  return R"(Probes the returns of functions in programs that nobody prepared.

Usage: retprobe trace -e PATTERN... [OPTION...] [--] PROGRAM [ARGUMENT...]
       retprobe list PATTERN... -- PROGRAM [ARGUMENT...]
       retprobe list --attached PID
       retprobe usl [OPTION...] FILE
       retprobe config [OPTION...]
       retprobe --version
       retprobe [COMMAND] --help

Commands:
  trace   run a program and report the calls of the functions that match
  list    show what would be probed, and why something cannot be
  usl     fit scaling laws to measurements: how far will throughput grow?
  config  show, explain and check the options of pools and probes
)";
}

namespace {

constexpr char kPatterns[] = R"(
A pattern is "module:function" or "function"; both parts are globs (* ? [a-z]).
The module is the file name of a library or of the program, the function a
symbol, or a C++ name as a demangler shows it:
  libc.so.6:malloc   'libstdc++*:*alloc*'   'app:Parser::*'
)";

constexpr char kStatus[] = R"(
Exit status:
  the program's own; killed by a signal, so is retprobe, by the same one
  125  retprobe failed: the program is statically linked, set-user-ID or of
       another kind, or cannot be prepared; or nothing was probed. A pattern
       whose module is there and has no such function stops the program before
       main when no other pattern matches anything; one whose module may yet be
       loaded is waited for, and if nothing was probed in the end the status
       is 125 instead of the program's 0
  126  the program cannot be executed (permission, format)
  127  the program was not found
  2    the command line, or the configuration, is wrong
)";

}  // namespace

std::string TraceHelp() {
  return absl::StrCat(
      R"(Usage: retprobe trace -e PATTERN... [OPTION...] [--] PROGRAM [ARGUMENT...]

Runs the program and reports, for each function that matches, how often it was
called and how long it took. The program's input, output, signals and exit
status are its own.

  -e, --probe PATTERN   what to probe; may be repeated
  -o, --output FILE     write the report to FILE instead of standard error
      --json            report in JSON, complete
      --events          also a line for each call when it ends: time (s since the
                        start), thread, function, arguments, result, duration,
                        how it ended. With --json: one JSON object a line
      --follow          trace children too, forked or executed (the environment
                        keeps LD_PRELOAD for them)
      --tid LIST        only calls of these threads: main (the first one) or
                        numbers, separated by commas
      --not-tid LIST    no calls of these threads
      --caller CODE     only calls from there: module:function as a PATTERN,
                        "module:*" (all of its code) or 0xFIRST-0xLAST; may be
                        repeated
      --depth N         recursion to N activations of a function in a thread;
                        deeper calls count as missed
      --limit N         the first N calls of each function; later ones count as
                        missed
      --live            draw the table while the program runs (on a terminal)
      --no-live         never. Without either: if standard error is a terminal
                        and the program's standard output is not
)",
      kPatterns, R"(
Columns: calls; missed (not probed for want of an instance, see the totals);
unwound (ended by an exception or the thread's end); abandoned (left by longjmp;
only where there are such calls); time in total, mean, median, 99th percentile
(to 1 in 32) and longest. A function's time includes what it calls; abandoned
calls have none.

Pools and probes have the options of RETPROBE_CONFIG and RETPROBE_OPTIONS; see
retprobe config --help.
)",
      kStatus);
}

std::string ListHelp() {
  return absl::StrCat(
      R"(Usage: retprobe list [OPTION...] PATTERN... -- PROGRAM [ARGUMENT...]
       retprobe list --attached PID [OPTION...]

Shows what `retprobe trace` would probe in the program as it is at the start of
main, and why a function cannot be probed. The program's main does not run.
With --attached: what is probed in a program that retprobe trace is running,
and what has been counted so far.

  -e, --probe PATTERN   same as PATTERN
      --refused         only what cannot be probed, and why
      --attached PID    look into this process; needs no privileges for one of
                        one's own while its retprobe runs
  -o, --output FILE     write to FILE instead of standard output
      --json            in JSON
      --reach           instead, how much of each module: functions of 5 bytes
                        or more and smaller ones, how many can be probed, by an
                        int3 or at the entry only, and the reasons of the others

A function that is probed by int3 has no room for a jump at its entry: each call
costs a signal, microseconds. One that is probed at its entry only has no return
to see: it returns twice or never (setjmp, exit), asks who called it (dlsym) or
switches stacks.
)",
      kPatterns, R"(
Columns of --attached: state (probed; refused; gone with its module); calls;
those under way; calls missed for want of an instance, in a handler, while a
probe was detached, deeper than --depth, after --limit.

Exit status: 0 when there is something to probe (with --refused: when a function
matches; with --attached: when the process is probed); else as for trace: 125,
126, 127, 2.
)");
}

}  // namespace retprobe::cli
