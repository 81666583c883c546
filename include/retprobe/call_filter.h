// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CALL_FILTER_H_
#define RETPROBE_CALL_FILTER_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retprobe/address_range.h"
#include "retprobe/export.h"

namespace retprobe {

// Where callers may be. Immutable; copies share what they hold.
class RETPROBE_API CodeSet {
 public:
  CodeSet() = default;  // empty
  // In any order, also overlapping; what is empty is left out.
  explicit CodeSet(std::vector<AddressRange> ranges);

  // The code that `text` names in the modules that are loaded now:
  //   "module:*"         all code of the modules, also what has no symbol
  //   "module:function"  the functions of that name, "function" in any module;
  //                      both parts are globs, as in retprobe(1). What the
  //                      compiler has split off (f.cold, f.part.0) has a
  //                      name of its own: "f*"
  //   "0x1000-0x1fff"    a range, its last byte included
  // Errors: kInvalidArgument; kNotFound, nothing is of that name.
  static absl::StatusOr<CodeSet> Find(absl::string_view text);

  // What is in either.
  CodeSet operator|(const CodeSet& other) const;

  bool operator==(const CodeSet& other) const;
  bool empty() const { return ranges_ == nullptr; }
  bool Contains(uintptr_t address) const;

  // Ascending, disjoint.
  const std::vector<AddressRange>& ranges() const;

 private:
  std::shared_ptr<const std::vector<AddressRange>> ranges_;  // null: empty
};

// Which calls of a function a probe is for: those that pass everything that is
// set. The others run unprobed and are not counted.
struct CallFilter {
  // Threads by their kernel ids (gettid(2)); 0 stands for the thread that
  // attaches the probe or sets the filter. Only `threads`, if there are any,
  // and none of `except_threads`. A thread asks the kernel for its id at its
  // first filtered call. The kernel gives ids anew when threads have ended; the
  // one thread of a forked child has an id of its own.
  std::vector<pid_t> threads;
  std::vector<pid_t> except_threads;

  // If not empty: the call instruction is there (strictly, the byte before the
  // return address). A function that was reached by a jump at the end of
  // another has that one's caller.
  CodeSet callers;

  bool empty() const {
    return threads.empty() && except_threads.empty() && callers.empty();
  }
};

}  // namespace retprobe

#endif  // RETPROBE_CALL_FILTER_H_
