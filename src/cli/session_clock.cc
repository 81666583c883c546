// SPDX-License-Identifier: Apache-2.0
#include "cli/session_clock.h"

#include <time.h>

#include "arch/x86_64/cycle_counter.h"

namespace retprobe::cli {
namespace {

constexpr uint64_t kSecond = 1000000000;
constexpr uint64_t kShortestMeasurement = 5000000;

uint64_t Monotonic() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * kSecond +
         static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

SessionClock::SessionClock()
    : cycle_counter_(arch::CycleCounterIsClock()), start_(Take()) {}

// The clock is read between two readings of the counter; of several such
// triples the closest counts.
SessionClock::Sample SessionClock::Take() const {
  if (!cycle_counter_) {
    const uint64_t now = Monotonic();
    return {now, now};
  }
  Sample best = {};
  uint64_t closest = UINT64_MAX;
  for (int i = 0; i < 16; ++i) {
    const uint64_t before = arch::CycleCounter();
    const uint64_t now = Monotonic();
    const uint64_t apart = arch::CycleCounter() - before;
    if (apart >= closest) continue;
    closest = apart;
    best = {before + apart / 2, now};
  }
  return best;
}

void SessionClock::Calibrate() {
  if (!cycle_counter_) return;
  Sample end = Take();
  if (end.nanoseconds - start_.nanoseconds < kShortestMeasurement) {
    const timespec rest = {
        0, static_cast<long>(start_.nanoseconds + kShortestMeasurement -
                             end.nanoseconds)};
    nanosleep(&rest, nullptr);
    end = Take();
  }
  rate_ = static_cast<uint64_t>(
      (static_cast<unsigned __int128>(end.nanoseconds - start_.nanoseconds)
       << 32) /
      (end.ticks - start_.ticks));
}

uint64_t SessionClock::Nanoseconds(uint64_t ticks) const {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(ticks) * rate_ >>
                               32);
}

uint64_t SessionClock::SinceStart(uint64_t ticks) const {
  return ticks < start_.ticks ? 0 : Nanoseconds(ticks - start_.ticks);
}

}  // namespace retprobe::cli
