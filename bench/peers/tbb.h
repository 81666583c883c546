// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_TBB_H_
#define RETPROBE_BENCH_PEERS_TBB_H_

#include <oneapi/tbb/concurrent_queue.h>
#include <oneapi/tbb/scalable_allocator.h>

#include <cstddef>

#include "peers/store.h"

namespace retprobe::bench {

class TbbQueue {
 public:
  TbbQueue(size_t count, size_t size) : store_(count, size) {
    queue_.set_capacity(static_cast<std::ptrdiff_t>(count));
    for (size_t i = 0; i < count; ++i) Push(store_.At(i));
  }
  void* Pop() {
    void* object = nullptr;
    return queue_.try_pop(object) ? object : nullptr;
  }
  void Push(void* object) { queue_.try_push(object); }

 private:
  Store store_;
  oneapi::tbb::concurrent_bounded_queue<void*> queue_;
};

class TbbMalloc {
 public:
  TbbMalloc(size_t, size_t size) : size_(size) {}
  void* Pop() { return scalable_malloc(size_); }
  void Push(void* object) { scalable_free(object); }

 private:
  size_t size_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_TBB_H_
