// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_LIMITS_H_
#define RETPROBE_RETHOOK_LIMITS_H_

#include <atomic>
#include <cstdint>

#include "rethook/depth_account.h"
#include "rethook/instance.h"

// What a handler's probe allows: activations at once, in a thread, in all.
// `data` is the handler's in the activation. Hot.
namespace retprobe {

// Where the account of a handler with kLimitDepth is noted.
inline uint32_t& AccountOf(void* data) {
  return static_cast<uint32_t*>(data)[-1];
}

// Takes one of the probe's `maxactive` places.
inline bool TakePlace(ProbeState* probe) {
  // relaxed: a counter, nothing is published by it.
  if (probe->active.fetch_add(1, std::memory_order_relaxed) <
      probe->maxactive) {
    return true;
  }
  probe->active.fetch_sub(1, std::memory_order_relaxed);  // relaxed: as above
  // relaxed: a statistic.
  probe->missed_empty.fetch_add(1, std::memory_order_relaxed);
  return false;
}

inline bool TakeDepth(ProbeState* probe, uint32_t& account) {
  account = DepthAccount::Enter(probe->number, probe->max_depth);
  if (account < DepthAccount::kNoRoom) return true;
  // relaxed: a statistic.
  (account == DepthAccount::kTooDeep ? probe->missed_depth
                                     : probe->missed_empty)
      .fetch_add(1, std::memory_order_relaxed);
  return false;
}

inline bool TakeHit(ProbeState* probe) {
  // Looked at first, so that a used-up probe's cache line stays shared.
  // relaxed: a counter, nothing is published by it.
  if (!probe->used_up() &&
      probe->hits.fetch_add(1, std::memory_order_relaxed) < probe->max_hits) {
    return true;
  }
  // relaxed: a statistic.
  if (!probe->stops_at_max_hits) {
    probe->missed_limit.fetch_add(1, std::memory_order_relaxed);
  }
  return false;
}

// Gives back what was taken of `limits`. A hit is not given back.
inline void GiveUp(ProbeState* probe, uint32_t limits, void* data) {
  if ((limits & kLimitDepth) != 0) DepthAccount::Leave(AccountOf(data));
  // relaxed: a counter, see TakePlace.
  if ((limits & kLimitActive) != 0) {
    probe->active.fetch_sub(1, std::memory_order_relaxed);
  }
}

// Whether the limits allow one more activation, which is then to be ended by
// Leave. A call that one of them leaves out counts for that one alone.
inline bool Admit(const Handler& handler, void* data) {
  ProbeState* const probe = handler.probe;
  const uint32_t limits = handler.limits;
  if ((limits & kLimitActive) != 0 && !TakePlace(probe)) return false;
  if ((limits & kLimitDepth) != 0 && !TakeDepth(probe, AccountOf(data))) {
    GiveUp(probe, limits & kLimitActive, data);
    return false;
  }
  if ((limits & kLimitHits) != 0 && !TakeHit(probe)) {
    GiveUp(probe, limits, data);
    return false;
  }
  return true;
}

inline void Leave(const Handler& handler, void* data) {
  if (handler.limits != 0) GiveUp(handler.probe, handler.limits, data);
}

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_LIMITS_H_
