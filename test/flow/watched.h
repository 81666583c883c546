// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_FLOW_WATCHED_H_
#define RETPROBE_TEST_FLOW_WATCHED_H_

#include <stddef.h>

// Probes whose activations are counted, for test programs of any language,
// standard library and unwinder: an interface of C.
#ifdef __cplusplus
extern "C" {
#endif

enum WatchKind {
  kWatchBare,     // no handlers; nothing is counted
  kWatchReturn,   // a return handler
  kWatchBoth,     // entry and return handler
  kWatchSeveral,  // two probes with both, and one that declines every other
                  // call
  kWatchKinds,
};

// How the activations of all watched functions ended, by probe.
struct Watched {
  long entered;  // 0 for kWatchReturn
  long returned;
  long unwound;
  long abandoned;
  long declined;
  long missed;
  size_t out;  // instances that are still out
};

// Attaches probes; ends the program with a message where that fails.
void watch_start(enum WatchKind kind, void* const* functions, size_t count);
// Detaches them all and tells.
struct Watched watch_stop(void);
// Tells, while they are attached.
struct Watched watch_look(void);

#ifdef __cplusplus
}
#endif

#endif  // RETPROBE_TEST_FLOW_WATCHED_H_
