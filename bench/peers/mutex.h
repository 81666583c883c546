// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_MUTEX_H_
#define RETPROBE_BENCH_PEERS_MUTEX_H_

#include <cstddef>
#include <mutex>
#include <vector>

#include "peers/store.h"

namespace retprobe::bench {

// What one writes first: a vector and a lock.
class MutexPool {
 public:
  MutexPool(size_t count, size_t size) : store_(count, size) {
    free_.reserve(count);
    for (size_t i = 0; i < count; ++i) free_.push_back(store_.At(i));
  }
  void* Pop() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return nullptr;
    void* object = free_.back();
    free_.pop_back();
    return object;
  }
  void Push(void* object) {
    const std::lock_guard lock(mutex_);
    free_.push_back(object);
  }
  size_t PopBatch(void** objects, size_t most) {
    const std::lock_guard lock(mutex_);
    size_t taken = 0;
    for (; taken < most && !free_.empty(); ++taken) {
      objects[taken] = free_.back();
      free_.pop_back();
    }
    return taken;
  }
  void PushBatch(void* const* objects, size_t count) {
    const std::lock_guard lock(mutex_);
    free_.insert(free_.end(), objects, objects + count);
  }

 private:
  std::mutex mutex_;
  std::vector<void*> free_;
  Store store_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_MUTEX_H_
