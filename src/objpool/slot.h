// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_SLOT_H_
#define RETPROBE_OBJPOOL_SLOT_H_

#include <atomic>
#include <cstdint>

#include "base/cache_line.h"
#include "objpool/freelist.h"
#include "objpool/ring.h"
#include "objpool/spares.h"

namespace retprobe {

// A place where objects wait that all CPUs can reach: a CPU's slot, or a node's
// depot, which has no ring and no spares. All zero is empty and valid, so that
// memory fresh from mmap needs no touch. The ring's entries lie elsewhere.
template <typename P>
struct Slot {
  template <typename T>
  using Atomic = typename P::template Atomic<T>;

  Ring<P> ring;

  alignas(kCacheLine) Freelist<P> freelist;
  Spares<P> spares;  // in pools without a ring

  // Written by slow paths of this CPU (and, when a thread moves on in their
  // middle, of others).
  alignas(kCacheLine) Atomic<uint64_t> steals;
  Atomic<uint64_t> misses;
  Atomic<uint64_t> empty_at;  // Pushes() when all places were last seen empty
  Atomic<uint32_t> futile;    // pops since that found it so still
  Atomic<uint32_t> alone;     // calls of Ease since `others` changed
  Atomic<uint64_t> others;    // pushes to other places then
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_SLOT_H_
