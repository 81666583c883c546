// SPDX-License-Identifier: Apache-2.0
#include "symbols/module.h"

#include <sys/auxv.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "symbols/memory_map.h"

namespace retprobe {
namespace {

// The first page and one behind the last page of the loaded segments.
std::pair<uintptr_t, uintptr_t> MappedRange(const dl_phdr_info& info) {
  const uintptr_t page = getauxval(AT_PAGESZ);
  uintptr_t begin = UINTPTR_MAX;
  uintptr_t end = 0;
  for (size_t i = 0; i < info.dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info.dlpi_phdr[i];
    if (segment.p_type != PT_LOAD) continue;
    const uintptr_t start = info.dlpi_addr + segment.p_vaddr;
    begin = std::min(begin, start & ~(page - 1));
    end = std::max(end, (start + segment.p_memsz + page - 1) & ~(page - 1));
  }
  return {begin, end};
}

int AddModule(dl_phdr_info* info, size_t, void* modules) {
  auto& list = *static_cast<std::vector<Module>*>(modules);
  const auto [begin, end] = MappedRange(*info);
  if (begin >= end) return 0;
  const uintptr_t vdso = getauxval(AT_SYSINFO_EHDR);
  if (vdso >= begin && vdso < end) return 0;
  Module module{};
  module.path = info->dlpi_name;
  module.bias = info->dlpi_addr;
  module.begin = begin;
  module.end = end;
  module.program_headers = info->dlpi_phdr;
  module.program_header_count = info->dlpi_phnum;
  module.main_program = list.empty();
  list.push_back(std::move(module));
  return 0;
}

std::string ProgramPath(const Module& program) {
  // Started as `ld-linux-x86-64.so.2 program`, /proc/self/exe is the linker.
  if (getauxval(AT_BASE) == 0) {
    std::string mapped = MappedPath(program.begin);
    if (!mapped.empty()) return mapped;
  }
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof(path));
  if (length <= 0) return program.path;
  return std::string(
      absl::StripSuffix(absl::string_view(path, length), " (deleted)"));
}

}  // namespace

std::vector<Module> LoadedModules() {
  std::vector<Module> modules;
  dl_iterate_phdr(AddModule, &modules);
  for (Module& module : modules) {
    if (module.main_program) {
      module.path = ProgramPath(module);
    } else if (module.path.empty() || module.path[0] != '/') {
      // Opened by a relative path, which means nothing after a chdir.
      std::string mapped = MappedPath(module.begin);
      if (!mapped.empty()) module.path = std::move(mapped);
    }
    module.name = module.path.substr(module.path.rfind('/') + 1);
  }
  return modules;
}

absl::StatusOr<Module> ModuleAt(uintptr_t address) {
  for (Module& module : LoadedModules()) {
    if (module.Contains(address)) return std::move(module);
  }
  return absl::NotFoundError(absl::StrCat(
      "no loaded module contains the address 0x", absl::Hex(address)));
}

}  // namespace retprobe
