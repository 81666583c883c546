// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_POOL_LIFE_H_
#define RETPROBE_TEST_POOL_LIFE_H_

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <memory>

#include "pool_backends.h"
#include "retprobe/objpool.h"

namespace retprobe::test {

// The page that a pool's magazines begin in: mapped or not?
class Memory {
 public:
  Memory() = default;
  explicit Memory(const ObjPool& pool)
      : page_(reinterpret_cast<uintptr_t>(pool.magazines()) & -4096ul) {}

  bool IsMapped() const {
    unsigned char resident;
    return mincore(reinterpret_cast<void*>(page_), 1, &resident) == 0;
  }

 private:
  uintptr_t page_ = 0;
};

// Counts what pools call back, and how often wrongly: init of an object that
// exists, fini of one that does not. Each object begins with which it is.
class Life {
 public:
  // `options` with callbacks, and objects of 64 bytes.
  std::unique_ptr<ObjPool> MakePool(ObjPool::Options options) {
    options.object_size = 64;
    options.init = [](void* object, void* self) {
      static_cast<Life*>(self)->Begin(object);
    };
    options.fini = [](void* object, void* self) {
      static_cast<Life*>(self)->End(object);
    };
    options.release = [](void* self) { static_cast<Life*>(self)->Release(); };
    options.context = this;
    auto pool = test::MakePool(options);
    memory_ = Memory(*pool);
    return pool;
  }

  std::atomic<int> inits{0};
  std::atomic<int> finis{0};
  std::atomic<int> twice{0};
  std::atomic<int> releases{0};
  bool mapped_at_release = false;

 private:
  static constexpr uint64_t kAlive = 0x11fe;
  static constexpr uint64_t kDead = 0xdead;

  void Begin(void* object) {
    if (*static_cast<uint64_t*>(object) == kAlive) ++twice;
    *static_cast<uint64_t*>(object) = kAlive;
    ++inits;
  }
  void End(void* object) {
    if (*static_cast<uint64_t*>(object) != kAlive) ++twice;
    *static_cast<uint64_t*>(object) = kDead;
    ++finis;
  }
  void Release() {
    mapped_at_release = memory_.IsMapped();
    ++releases;
  }

  Memory memory_;
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_POOL_LIFE_H_
