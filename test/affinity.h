// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_AFFINITY_H_
#define RETPROBE_TEST_AFFINITY_H_

#include <sched.h>

namespace retprobe::test {

inline void PinTo(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

// Puts the CPUs back that this thread may use.
class AffinityGuard {
 public:
  AffinityGuard() { sched_getaffinity(0, sizeof(set_), &set_); }
  ~AffinityGuard() { sched_setaffinity(0, sizeof(set_), &set_); }
  AffinityGuard(const AffinityGuard&) = delete;
  AffinityGuard& operator=(const AffinityGuard&) = delete;
  unsigned count() const { return CPU_COUNT(&set_); }
  // The `n`th CPU of those, round the corner.
  unsigned Nth(unsigned n) const {
    n %= count();
    for (unsigned cpu = 0;; ++cpu) {
      if (CPU_ISSET(cpu, &set_) && n-- == 0) return cpu;
    }
  }

 private:
  cpu_set_t set_;
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_AFFINITY_H_
