#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests count.py's reading of instructions, and that a change is a failure."""
import sys

import count

KINDS = {
    ("mov", "%rbx,-0x10(%rsp)"): ["store"],
    ("mov", "0x8(%rax),%rsi"): ["load"],
    ("mov", "%rdx,%rbx"): [],
    ("mov", "0x1234(%rip),%rdx        # 5678 <x>"): ["load"],
    ("mov", "%fs:0x4(%rdx),%ecx"): ["load"],
    ("mov", "%rcx,%fs:0x8(%rdx)"): ["store"],
    ("mov", "%rbx,0x8(%rax,%rcx,8)"): ["store"],
    ("movq", "$0x0,0x20(%rbx)"): ["store"],
    ("lea", "0x8(%rsp),%rcx"): [],
    ("cmpq", "$0x0,%fs:(%rcx)"): ["load"],
    ("testl", "$0x1,0x10(%rsi)"): ["load"],
    ("incl", "%fs:(%rdx)"): ["store", "load"],
    ("lock", "incq 0x20(%rax)"): ["lock", "store", "load"],
    ("pop", "(%rbx)"): ["pop", "store"],
    ("push", "(%rbx)"): ["push", "load"],
    ("call", "*0x10(%rbx)"): ["call", "load"],
    ("jle", "401200 <retprobe_entry+0x10>"): ["jcc"],
    ("jmp", "*0x10(%rax)"): ["jmp", "load"],
    ("ret", ""): ["ret"],
}


def main():
    checks = {f"{m} {o}": count.kinds(m, o) == wanted
              for (m, o), wanted in KINDS.items()}
    line = count.describe("return", "entry",
                          count.collections.Counter(instructions=30, load=9))
    worse = count.describe("return", "entry",
                           count.collections.Counter(instructions=31, load=9))
    golden = count.content(count.HEADER + line + "\n")
    checks["the same counts are no difference"] = \
        count.differences(golden, [line]) == []
    checks["one more instruction is a difference"] = \
        count.differences(golden, [worse]) == ["-" + line, "+" + worse]
    checks["a case that was not counted is a difference"] = \
        count.differences(golden, []) == ["-" + line]
    failed = [name for name, good in checks.items() if not good]
    for name in failed:
        print(f"FAILED: {name}")
    print(f"{len(checks) - len(failed)} passed, {len(failed)} failed")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
