// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_ADAPTERS_CHECKS_H_
#define RETPROBE_TEST_ADAPTERS_CHECKS_H_

#include <doctest/doctest.h>

#include <atomic>
#include <vector>

#include "in_threads.h"
#include "retprobe/context.h"
#include "targets.h"

// What every adapter has to do right.
namespace retprobe::test {

// Entries that an adapter saw, and ends that were heard of.
struct Ends {
  std::atomic<long> entries{0};
  std::atomic<long> returned{0};
  std::atomic<long> unwound{0};

  void Count(ReturnContext& context) {
    (context.reason() == EndReason::kUnwound ? unwound : returned)
        .fetch_add(1, std::memory_order_relaxed);
  }
};

struct Calls {
  long returned = 0;
  long unwound = 0;
  bool right = true;  // results are as if nobody looked

  void operator+=(const Calls& other) {
    returned += other.returned;
    unwound += other.unwound;
    right &= other.right;
  }
};

// Calls each target, and says how many activations are to end how.
inline Calls CallAll(const Targets& targets) {
  Calls calls;
  double z = 10;
  calls.right &= targets.mixed(1, 2, 3, 4, 5, 6, 7.5, 8.5, 9, &z) ==
                 91 + 63 + 60 + 76.5 + 100;
  calls.right &= targets.sum(9, 1., 2., 3., 4., 5., 6., 7., 8., 9.) == 45;
  calls.right &= targets.precise(1) == 1.0L / 3;
  calls.right &= targets.aligned(100) == 42;
  calls.right &= targets.recurse(20) == 20;
  calls.returned += 4 + 21;
  for (long depth = 0; depth < 5; ++depth) {
    try {
      targets.throw_below(depth);
      calls.right = false;
    } catch (int thrown) {
      calls.right &= thrown == 42;
    }
    calls.unwound += depth + 1;
  }
  calls.right &= targets.catch_below(5) == 8;
  calls.returned += 3;
  calls.unwound += 2;
  return calls;
}

// Calls all from 1, 2 and 8 threads, and checks that each activation was seen
// to enter, and to end once, in the way that it did.
template <typename Ends>
void CheckEnds(const Targets& targets, const Ends& ends) {
  for (const int count : {1, 2, 8}) {
    CAPTURE(count);
    const long entered = ends.entries;
    const long returned = ends.returned;
    const long unwound = ends.unwound;
    std::vector<Calls> calls(count);
    InNewThreads(count, [&](int i) {
      for (int round = 0; round < 100; ++round) calls[i] += CallAll(targets);
    });
    Calls all;
    for (const Calls& some : calls) all += some;
    CHECK(all.right);
    CHECK(ends.returned - returned == all.returned);
    CHECK(ends.unwound - unwound == all.unwound);
    CHECK(ends.entries - entered == all.returned + all.unwound);
  }
}

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_ADAPTERS_CHECKS_H_
