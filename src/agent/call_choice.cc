// SPDX-License-Identifier: Apache-2.0
#include "agent/call_choice.h"

#include <sys/syscall.h>

#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "agent/system_calls.h"

namespace retprobe::agent {
namespace {

std::vector<std::string> Split(const char* texts, size_t size) {
  std::vector<std::string> split;
  for (const char* text = texts; text < texts + size;
       text += strlen(text) + 1) {
    split.emplace_back(text);
  }
  return split;
}

// Where nobody calls from.
CodeSet Nowhere() { return CodeSet({{0, 1}}); }

}  // namespace

CallChoice::CallChoice(const char* texts, size_t callers_size,
                       size_t threads_size)
    : callers_(Split(texts, callers_size)),
      threads_(Split(texts + callers_size, threads_size)) {}

CallFilter CallChoice::Make(std::string* note) const {
  CallFilter filter;
  for (absl::string_view thread : threads_) {
    const bool except = absl::ConsumePrefix(&thread, "!");
    pid_t id = 0;
    if (thread == "main") {
      id = static_cast<pid_t>(Syscall(SYS_getpid));
    } else if (!absl::SimpleAtoi(thread, &id)) {
      continue;  // the command has looked at it
    }
    (except ? filter.except_threads : filter.threads).push_back(id);
  }
  if (callers_.empty()) return filter;
  filter.callers = Nowhere();
  for (const std::string& caller : callers_) {
    const auto code = CodeSet::Find(caller);
    if (code.ok()) {
      filter.callers = filter.callers | *code;
    } else {
      *note = absl::StrCat("--caller, at the start: ", code.status().message());
    }
  }
  return filter;
}

}  // namespace retprobe::agent
