// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_FLOW_FLOW_H_
#define RETPROBE_TEST_FLOW_FLOW_H_

#include <doctest/doctest.h>

#include <vector>

#include "flow/target.h"
#include "flow/watched.h"
#include "in_threads.h"

namespace flow {

template <typename F>
void* Address(F* function) {
  return reinterpret_cast<void*>(function);
}

using retprobe::InThreads;

// Every activation has ended, once.
inline void CheckEnds(WatchKind kind, const Watched& ends) {
  CHECK(ends.out == 0);
  CHECK(ends.missed == 0);
  if (kind >= kWatchBoth) {
    CHECK(ends.entered ==
          ends.returned + ends.unwound + ends.abandoned + ends.declined);
  }
}

// Runs `body(thread)` under every kind of probe on `functions`, in 1, 2 and 8
// threads, `rounds` times in each; `check(kind, ends, times)` looks at how the
// activations of `times` runs ended.
template <typename Body, typename Check>
void Watch(const std::vector<void*>& functions, int rounds, const Body& body,
           const Check& check) {
  for (const int threads : {1, 2, 8}) {
    for (int k = kWatchBare; k < kWatchKinds; ++k) {
      const auto kind = static_cast<WatchKind>(k);
      CAPTURE(threads);
      CAPTURE(k);
      watch_start(kind, functions.data(), functions.size());
      InThreads(threads, [&](int thread) {
        for (int i = 0; i < rounds; ++i) body(thread);
      });
      const Watched ends = watch_stop();
      CheckEnds(kind, ends);
      check(kind, ends, static_cast<long>(threads) * rounds);
    }
  }
}

// Expects each run to make `returned` and `unwound` activations end.
template <typename Body>
void WatchEnds(const std::vector<void*>& functions, int rounds, long returned,
               long unwound, const Body& body) {
  Watch(functions, rounds, body,
        [&](WatchKind kind, const Watched& ends, long times) {
          if (kind != kWatchReturn && kind != kWatchBoth) return;
          CHECK(ends.returned == returned * times);
          CHECK(ends.unwound == unwound * times);
        });
}

}  // namespace flow

#endif  // RETPROBE_TEST_FLOW_FLOW_H_
