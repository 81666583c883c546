// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_SESSION_CLOCK_H_
#define RETPROBE_CLI_SESSION_CLOCK_H_

#include <cstdint>

namespace retprobe::cli {

// What ticks in the handlers: the time stamp counter where it is a clock, else
// nanoseconds of CLOCK_MONOTONIC. The counter's rate is measured against
// CLOCK_MONOTONIC from construction to Calibrate.
class SessionClock {
 public:
  SessionClock();

  // Fixes the rate. Waits if there has been less than 5 ms to measure, which
  // is what an error of some 10 in a million takes.
  void Calibrate();

  bool uses_cycle_counter() const { return cycle_counter_; }
  // Fixed point with 32 fractional bits. Requires: calibrated.
  uint64_t nanoseconds_per_tick_q32() const { return rate_; }
  uint64_t Nanoseconds(uint64_t ticks) const;
  // From construction to the instant of `ticks`.
  uint64_t SinceStart(uint64_t ticks) const;

 private:
  struct Sample {
    uint64_t ticks;
    uint64_t nanoseconds;
  };
  Sample Take() const;

  bool cycle_counter_;
  Sample start_;
  uint64_t rate_ = uint64_t{1} << 32;
};

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_SESSION_CLOCK_H_
