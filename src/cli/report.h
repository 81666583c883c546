// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_REPORT_H_
#define RETPROBE_CLI_REPORT_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "agent/session.h"

namespace retprobe::cli {

// What is known of one function, summed over CPUs and processes.
struct FunctionReport {
  std::string module;  // path
  std::string name;    // as in the symbol table
  session::FunctionState state = session::FunctionState::kRefused;
  std::string reason;   // of a refused one
  uint32_t size = 0;    // bytes of code; 0: unknown
  uint32_t traits = 0;  // session::FunctionTrait, of a probed one

  uint64_t calls = 0;
  uint64_t unwound = 0;
  uint64_t abandoned = 0;
  uint64_t missed_empty = 0;
  uint64_t missed_recursion = 0;
  uint64_t missed_dying = 0;
  uint64_t missed_depth = 0;
  uint64_t missed_limit = 0;
  uint64_t total = 0;     // ns, of the calls that ended with a known end
  uint64_t shortest = 0;  // ns
  uint64_t longest = 0;   // ns
  uint64_t lost_events = 0;
  std::vector<uint64_t> buckets;  // empty, or histogram::kBuckets

  uint64_t missed() const {
    return missed_empty + missed_recursion + missed_dying + missed_depth +
           missed_limit;
  }
  uint64_t timed() const;  // calls that are in the histogram
  uint64_t returned() const { return timed() - unwound; }
  uint64_t under_way() const {  // or lost with a process
    const uint64_t ended = timed() + abandoned;
    return calls > ended ? calls - ended : 0;
  }
  uint64_t mean() const { return timed() == 0 ? 0 : total / timed(); }
  uint64_t Percentile(uint32_t percent) const;
  void Add(const FunctionReport& other);
};

// How much of a module can be probed. Unlike in Report::functions, static
// functions of one name are several.
class Reach {
 public:
  void Add(const FunctionReport& function);
  std::string Table() const;
  std::string Json() const;

 private:
  // Functions of 1 to 4 bytes are counted apart: a jump has 5.
  struct Count {
    uint64_t functions = 0;
    uint64_t traps = 0;
    uint64_t entry_only = 0;
    uint64_t refused = 0;
  };
  struct ModuleReach {
    Count large;
    Count small;
    std::map<std::string, std::vector<std::string>> refused;  // by reason
  };
  std::map<std::string, ModuleReach> modules_;
};

struct ProcessReport {
  int pid = 0;
  std::string program;
  uint64_t calls = 0;
  uint64_t missed = 0;
  uint64_t total = 0;  // ns
};

struct PatternReport {
  std::string text;
  uint64_t functions = 0;  // matched, refused ones included
  bool module_found = false;
  std::string note;  // when nothing matched: why
};

struct Report {
  // By module and name.
  std::map<std::pair<std::string, std::string>, FunctionReport> functions;
  std::vector<ProcessReport> processes;
  std::vector<PatternReport> patterns;
  std::vector<std::string> errors;
  std::vector<std::string> warnings;
  uint64_t instances = 0;
  Reach reach;

  // Which calls were meant, as in Options; empty and 0: all.
  std::vector<std::string> threads;
  std::vector<std::string> callers;
  uint32_t depth = 0;
  uint64_t limit = 0;

  void Add(const FunctionReport& function);
  bool matched_anything() const;
  uint64_t probed() const;
};

// The table, with lines not longer than they need be. `rows`: at most so many
// functions; 0: all that were called.
std::string RenderTable(const Report& report, size_t rows);

// One object; `pretty`: a function a line.
std::string RenderJson(const Report& report, bool pretty);

// Leaves the refused functions alone, for `retprobe list --refused`.
void KeepRefused(Report& report);

// What `retprobe list` says, and `retprobe list --reach`; `refused_only`: after
// KeepRefused.
std::string RenderList(const Report& report, bool refused_only);

// What `retprobe list --attached` says.
std::string RenderAttached(const Report& report);

// "probed", "gone" or "refused".
const char* StateName(session::FunctionState state);

// "jump", "int3", "jump, entry only", "int3, entry only".
std::string HowProbed(const FunctionReport& function);

// "libc.so.6:malloc", C++ names demangled.
std::string DisplayName(const std::string& module, const std::string& name);

// A duration in three or four digits and a unit: "123 ns", "1.23 ms".
std::string HumanDuration(uint64_t nanoseconds);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_REPORT_H_
