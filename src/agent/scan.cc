// SPDX-License-Identifier: Apache-2.0
#include "agent/scan.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace retprobe::agent {

absl::Status Scanner::ParsePatterns(const char* texts, size_t size) {
  for (const char* text = texts; text < texts + size;
       text += strlen(text) + 1) {
    auto pattern = Pattern::Parse(text);
    if (!pattern.ok()) return pattern.status();
    patterns_.push_back(*std::move(pattern));
  }
  counts_.resize(patterns_.size());
  return absl::OkStatus();
}

bool Scanner::IsNew(const Module& module) {
  for (const Module& old : seen_) {
    if (old.bias == module.bias && old.path == module.path) return false;
  }
  seen_.push_back(module);
  return true;
}

std::string Scanner::NoteFor(const Pattern& pattern, const Count& count) const {
  if (pattern.text().find_first_of("*?[") == std::string::npos) {
    auto found = FindFunction(pattern.text());
    if (!found.ok()) return std::string(found.status().message());
  }
  return count.modules == 0 ? "no such module is loaded"
                            : "no function of that name";
}

void Scanner::AddFunction(const Module& module, Function& function,
                          uint64_t offset, Segment& segment) {
  absl::Status status = ResolveIndirect(&function);
  // Several indirect functions may choose the same code, and the code may have
  // a name of its own: one probe.
  if (status.ok() && !addresses_.insert(function.address).second) return;
  if (status.ok()) status = Probeable(module, function);
  if (status.ok()) status = CheckEntryOffset(function, offset);
  segment.entries().push_back({function.name, segment.Intern(module.path),
                               function.address, std::string(status.message()),
                               static_cast<uint32_t>(function.size)});
}

void Scanner::ScanModule(const Module& module, Segment& segment) {
  std::vector<size_t> concerned;
  for (size_t i = 0; i < patterns_.size(); ++i) {
    if (!patterns_[i].MatchesModule(module)) continue;
    concerned.push_back(i);
    ++counts_[i].modules;
  }
  if (concerned.empty()) return;
  auto functions = ModuleFunctions(module);
  if (!functions.ok()) {
    segment.SetWarning(
        absl::StrCat(module.path, ": ", functions.status().message()));
    return;
  }
  for (Function& function : *functions) {
    std::vector<uint64_t> offsets;
    for (size_t i : concerned) {
      if (!patterns_[i].MatchesFunction(function)) continue;
      ++counts_[i].functions;
      offsets.push_back(patterns_[i].offset());
    }
    if (offsets.empty()) continue;
    AddFunction(module, function,
                *std::min_element(offsets.begin(), offsets.end()), segment);
  }
}

void Scanner::Scan(Segment& segment) {
  for (const Module& module : LoadedModules()) {
    if (IsNew(module)) ScanModule(module, segment);
  }
  for (size_t i = 0; i < patterns_.size(); ++i) {
    const Count& count = counts_[i];
    segment.AddPattern(
        count.modules, count.functions,
        count.functions != 0 ? "" : NoteFor(patterns_[i], count));
  }
}

void Scanner::Forget(uintptr_t address) {
  addresses_.erase(address);
  std::erase_if(seen_, [address](const Module& module) {
    return module.Contains(address);
  });
}

}  // namespace retprobe::agent
