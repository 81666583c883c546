// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_ATTACH_MANY_H_
#define RETPROBE_BENCH_ATTACH_MANY_H_

#include <string>

struct AttachResult {
  std::string error;           // empty when all went well
  double seconds = 0;          // AttachAll on 10,000 functions
  double bytes_per_probe = 0;  // resident memory that stays, without instances
  double detach_seconds = 0;   // DetachAll on them
  double one_by_one_seconds = 0;  // once more attached, by ~ReturnProbe
};

// Runs this program with kAttachArgument and reads what it prints.
AttachResult AttachManyInChild();

// What the child does; its exit status. Prints its fields or why not.
int AttachMany();

inline constexpr char kAttachArgument[] = "--attach-many";

#endif  // RETPROBE_BENCH_ATTACH_MANY_H_
