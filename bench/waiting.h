// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_WAITING_H_
#define RETPROBE_BENCH_WAITING_H_

#include <string>

#include "retprobe/rethook.h"

// Threads that wait inside hooked functions: what is held for them, and how
// many are missed.
struct WaitingCase {
  retprobe::Rethook::Storage storage;
  int threads;
  int depth;      // hooked frames of each
  int maxactive;  // Rethook::Options::maxactive
};

struct WaitingResult {
  std::string error;         // empty when all went well
  double fixed_bytes = 0;    // held with nobody inside
  double waiting_bytes = 0;  // and then, besides those
  double hooked = 0;
  double missed = 0;
};

// Runs this program with kWaitingArgument and reads what it prints.
WaitingResult WaitInChild(const WaitingCase& waiting);

// What the child does with the arguments behind kWaitingArgument; its exit
// status.
int Wait(char** arguments);

inline constexpr char kWaitingArgument[] = "--waiting";
inline constexpr int kWaitingArguments = 4;

#endif  // RETPROBE_BENCH_WAITING_H_
