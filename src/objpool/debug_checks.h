// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_DEBUG_CHECKS_H_
#define RETPROBE_OBJPOOL_DEBUG_CHECKS_H_

#include <unistd.h>

#include <cstdlib>

#include "objpool/memory_checkers.h"
#include "objpool/pool_core.h"

// With -Ddebug_checks=true every pop and push takes the slow path (magazines
// hold nothing) and ends up here; so it does in builds for AddressSanitizer and
// in processes under valgrind.
//
// Each object has a seal: what it held when it was pushed, as a number. Objects
// keep their contents from push to pop, so filling them with a pattern, as
// allocators do, is not for us; that nobody has written to them meanwhile is
// seen all the same.

namespace retprobe {

// Seals of objects that were not pushed yet, and of those in use. Others are
// odd.
inline constexpr uint64_t kNoSeal = 0;
inline constexpr uint64_t kInUse = 2;

// A line on stderr, which needs neither memory nor locks.
class ErrorLine {
 public:
  explicit ErrorLine(const char* text) { *this << text; }
  ErrorLine& operator<<(const char* text) {
    for (; *text != 0; ++text) Put(*text);
    return *this;
  }
  ErrorLine& operator<<(const void* address) {
    *this << "0x";
    return Number(reinterpret_cast<uintptr_t>(address), 16);
  }
  ErrorLine& Number(uint64_t number, unsigned base) {
    char digits[20];
    size_t count = 0;
    do {
      digits[count++] = "0123456789abcdef"[number % base];
    } while ((number /= base) != 0);
    while (count != 0) Put(digits[--count]);
    return *this;
  }
  ~ErrorLine() {
    Put('\n');
    // Nothing can be done about a failed write.
    [[maybe_unused]] const ssize_t ignored =
        write(STDERR_FILENO, text_, length_);
  }
  ErrorLine(const ErrorLine&) = delete;
  ErrorLine& operator=(const ErrorLine&) = delete;

 private:
  void Put(char c) {
    if (length_ < sizeof(text_)) text_[length_++] = c;
  }
  char text_[400];
  size_t length_ = 0;
};

[[noreturn]] inline void PoolFailure(const void* object, const char* what) {
  ErrorLine("retprobe: ObjPool: object ") << object << " " << what;
  abort();
}

template <typename Core>
uint64_t SealOf(const Core& core, const void* object) {
  const auto* bytes = static_cast<const std::byte*>(object);
  uint64_t seal = 0;
  for (uint64_t i = 0; i < core.object_stride; i += 8) {
    uint64_t word = 0;
    const uint64_t left = core.object_stride - i;
    __builtin_memcpy(&word, bytes + i, left < 8 ? left : 8);
    seal = (seal ^ word) * 0x9e3779b97f4a7c15;
    seal ^= seal >> 32;
  }
  return seal | 1;
}

// `object` leaves the pool.
template <typename Core>
[[gnu::noinline]] void DoCheckPop(Core& core, void* object) {
  if (!core.idle_readable) {
    BeginUse(core.objects, object, core.object_stride);
  }
  if (core.seals == nullptr) return;
  // relaxed: the pool's own edges order the owners
  const uint64_t seal = core.seals[core.Index(object)].exchange(
      kInUse, std::memory_order_relaxed);
  if (seal == kInUse) PoolFailure(object, "was handed out twice");
  if (seal != kNoSeal && seal != SealOf(core, object)) {
    PoolFailure(object, "was written to after it had been pushed");
  }
}

// `object` comes back, or will not.
template <typename Core>
[[gnu::noinline]] void DoCheckPush(Core& core, void* object) {
  if (core.seals != nullptr) {
    if (!core.Contains(object)) {
      PoolFailure(object, "was pushed to a pool that it is not of");
    }
    // relaxed: the pool's own edges order the owners
    auto& seal = core.seals[core.Index(object)];
    if (seal.load(std::memory_order_relaxed) != kInUse ||
        seal.exchange(SealOf(core, object), std::memory_order_relaxed) !=
            kInUse) {
      PoolFailure(object, "was pushed while it was not in use");
    }
  }
  if (!core.idle_readable) EndUse(core.objects, object, core.object_stride);
}

template <typename Core>
void CheckPop(Core& core, void* object) {
  if (core.watched) DoCheckPop(core, object);
}
template <typename Core>
void CheckPush(Core& core, void* object) {
  if (core.watched) DoCheckPush(core, object);
}

// Object `index`, which nobody has, is about to be made or ended; then it is
// idle, or nothing.
template <typename Core>
void BeginChange(Core& core, uint32_t index) {
  AllowUse(core.Object(index), core.object_stride);
}
template <typename Core>
void EndChange(Core& core, uint32_t index) {
  if (core.seals != nullptr) {
    // relaxed: as in CheckPop
    core.seals[index].store(kNoSeal, std::memory_order_relaxed);
  }
  if (!core.idle_readable) {
    ForbidUse(core.Object(index), core.object_stride);
  }
}

// All objects are about to go, whoever has them.
template <typename Core>
void CheckEnd(Core& core) {
  AllowUse(core.objects, core.max_objects * core.object_stride);
  if (core.seals == nullptr) return;
  constexpr int kNamed = 8;
  const void* leaked[kNamed];
  uint64_t count = 0;
  core.ForEachObject([&](void* object) {
    // relaxed: nobody pops or pushes
    const uint64_t seal =
        core.seals[core.Index(object)].load(std::memory_order_relaxed);
    if (seal == kInUse) {
      if (count < kNamed) leaked[count] = object;
      ++count;
    } else if (seal != kNoSeal && seal != SealOf(core, object)) {
      PoolFailure(object, "was written to after it had been pushed");
    }
  });
  if (count == 0) return;
  ErrorLine line("retprobe: ObjPool: deleted while objects are in use: ");
  line.Number(count, 10) << ":";
  for (uint64_t i = 0; i < count && i < kNamed; ++i) line << " " << leaked[i];
  if (count > kNamed) line << " ...";
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_DEBUG_CHECKS_H_
