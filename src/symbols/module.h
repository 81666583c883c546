// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_MODULE_H_
#define RETPROBE_SYMBOLS_MODULE_H_

#include <link.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace retprobe {

// A loaded ELF file.
struct Module {
  std::string path;  // of the main program: what /proc/self/exe points to
  std::string name;  // the path's last component
  uintptr_t bias;    // what to add to the file's addresses
  uintptr_t begin;   // lowest and highest mapped address
  uintptr_t end;
  // The program headers in memory. Lifetime: until the module is unloaded.
  const ElfW(Phdr) * program_headers;
  size_t program_header_count;
  bool main_program;

  bool Contains(uintptr_t address) const {
    return address >= begin && address < end;
  }
};

// All modules of the process, the main program first. Without the vdso.
//
// A module appears as soon as it is mapped: while another thread is in dlopen,
// the newest may not be relocated yet. Only the caller's link-map namespace is
// seen (see dlmopen(3)).
std::vector<Module> LoadedModules();

// The module that maps `address`. Errors: kNotFound.
absl::StatusOr<Module> ModuleAt(uintptr_t address);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_MODULE_H_
