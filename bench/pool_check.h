// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_POOL_CHECK_H_
#define RETPROBE_BENCH_POOL_CHECK_H_

#include <atomic>
#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/cache_line.h"
#include "scenario.h"

// Whether what is compared is a pool at all. Each function returns what is
// wrong, or nothing.

namespace retprobe::bench {

// A pool of `count` objects: all come out, once each, and then none.
template <typename Pool>
std::string CheckAlone(size_t count, bool unlimited) {
  Pool pool(count, kObjectSize);
  Local<Pool> local(pool);
  for (int round = 0; round < 2; ++round) {
    std::unordered_map<void*, size_t> seen;
    for (size_t i = 0; i < count; ++i) {
      void* object = local.Pop();
      if (object == nullptr) return "objects are missing";
      if (!seen.emplace(object, i).second) return "an object came twice";
    }
    if (!unlimited && local.Pop() != nullptr) return "more than were made";
    for (const auto& [object, index] : seen) local.Push(object);
  }
  return "";
}

// Who has an object, as told by those who took it. Each on lines of its own.
class Owners {
 public:
  explicit Owners(const std::vector<void*>& objects)
      : marks_(std::make_unique<Mark[]>(objects.size())) {
    for (size_t i = 0; i < objects.size(); ++i) index_.emplace(objects[i], i);
  }
  // False when somebody has it, or it was never made.
  bool Take(void* object) {
    const auto found = index_.find(object);
    return found != index_.end() && !marks_[found->second].taken.exchange(
                                        true, std::memory_order_acquire);
  }
  void Give(void* object) {
    marks_[index_.at(object)].taken.store(false, std::memory_order_release);
  }
  size_t size() const { return index_.size(); }

 private:
  struct alignas(kCacheLine) Mark {
    std::atomic<bool> taken{false};
  };
  std::unordered_map<void*, size_t> index_;
  std::unique_ptr<Mark[]> marks_;
};

// Threads take and give back for `duration`: nobody gets what another has, and
// all objects are there in the end (those that stay with ended threads must
// have been given back when the threads ended).
template <typename Pool>
std::string CheckTogether(int threads, size_t count,
                          std::chrono::milliseconds duration) {
  Pool pool(count, kObjectSize);
  std::vector<void*> objects;
  {
    Local<Pool> local(pool);
    while (void* object = local.Pop()) objects.push_back(object);
    if (objects.size() != count) return "objects are missing";
    for (void* object : objects) local.Push(object);
  }
  Owners owners(objects);
  std::atomic<bool> stop{false};
  std::atomic<bool> twice{false};
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&, i] {
      PinThread(i);
      Local<Pool> local(pool);
      void* held[8];
      while (!stop.load(std::memory_order_relaxed)) {
        size_t n = 0;
        for (size_t k = 0; k < std::size(held); ++k) {
          void* object = local.Pop();
          if (object == nullptr) continue;
          if (!owners.Take(object)) {
            twice = stop = true;
          } else {
            held[n++] = object;
          }
        }
        while (n > 0) {
          owners.Give(held[--n]);
          local.Push(held[n]);
        }
      }
    });
  }
  const auto end = std::chrono::steady_clock::now() + duration;
  while (!stop && std::chrono::steady_clock::now() < end) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
  if (twice) return "two threads had the same object";
  Local<Pool> local(pool);
  size_t left = 0;
  while (local.Pop() != nullptr && left <= count) ++left;
  return left == count ? "" : "objects were lost or doubled";
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_POOL_CHECK_H_
