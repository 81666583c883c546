// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_CK_H_
#define RETPROBE_BENCH_PEERS_CK_H_

#include <ck_pr.h>
#include <ck_stdbool.h>
// Two places of these C headers that C++ refuses.
#define false 0
#include <ck_ring.h>
#undef false
#define ck_pr_fas_ptr(target, value) \
  static_cast<ck_stack_entry*>(ck_pr_fas_ptr(target, value))
#include <ck_stack.h>
#undef ck_pr_fas_ptr

#include <bit>
#include <cstddef>
#include <new>
#include <vector>

#include "base/cache_line.h"
#include "peers/store.h"

namespace retprobe::bench {

// Concurrency Kit's ring for many producers and many consumers.
class CkRing {
 public:
  CkRing(size_t count, size_t size)
      : store_(count, size), buffer_(std::bit_ceil(count + 1)) {
    ck_ring_init(&ring_, static_cast<unsigned>(buffer_.size()));
    for (size_t i = 0; i < count; ++i) Push(store_.At(i));
  }
  void* Pop() {
    void* object;
    return ck_ring_dequeue_mpmc(&ring_, buffer_.data(), &object) ? object
                                                                 : nullptr;
  }
  // It holds all objects, so it is never full.
  void Push(void* object) {
    ck_ring_enqueue_mpmc(&ring_, buffer_.data(), object);
  }

 private:
  alignas(kCacheLine) ck_ring_t ring_;
  Store store_;
  std::vector<ck_ring_buffer_t> buffer_;
};

// Its stack for many of both: a 128-bit compare-and-swap of head and count. The
// link is in the object.
class CkStack {
 public:
  CkStack(size_t count, size_t size) : store_(count, size) {
    ck_stack_init(&stack_);
    for (size_t i = 0; i < count; ++i) Push(store_.At(i));
  }
  void* Pop() { return ck_stack_pop_mpmc(&stack_); }
  void Push(void* object) {
    ck_stack_push_mpmc(&stack_, new (object) ck_stack_entry_t);
  }

 private:
  alignas(kCacheLine) ck_stack_t stack_;
  Store store_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_CK_H_
