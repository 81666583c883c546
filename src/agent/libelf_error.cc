// SPDX-License-Identifier: Apache-2.0

// libelf's error numbers, in place of the member of libelf.a that keeps them:
// it is compiled for programs only (its thread-local storage cannot be part of
// a shared object). Nobody in the agent asks for them.
extern "C" {
void __libelf_seterrno(int) {}
int elf_errno() { return 0; }
const char* elf_errmsg(int) { return "the file is damaged"; }
}
