// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_MEMORY_CHECKERS_H_
#define RETPROBE_OBJPOOL_MEMORY_CHECKERS_H_

#include <cstddef>
#include <cstdint>

// What AddressSanitizer and valgrind are told: that idle objects are nobody's.
// In builds for them every pop and push takes the slow path; in others all of
// this is nothing. Contents stay as they are, and count as written.

#ifndef RETPROBE_VALGRIND
#define RETPROBE_VALGRIND 0
#endif

#if defined(__SANITIZE_ADDRESS__)
#define RETPROBE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RETPROBE_ASAN 1
#endif
#endif
#ifndef RETPROBE_ASAN
#define RETPROBE_ASAN 0
#endif

#if RETPROBE_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if RETPROBE_VALGRIND
#include <valgrind/memcheck.h>
#endif

namespace retprobe {

// Whether anybody listens to what follows.
inline bool MemoryIsWatched() {
#if RETPROBE_VALGRIND
  if (RUNNING_ON_VALGRIND != 0) return true;
#endif
  return RETPROBE_ASAN;
}

// [address, address + bytes) may be used, or may not.
inline void AllowUse([[maybe_unused]] const void* address,
                     [[maybe_unused]] uint64_t bytes) {
#if RETPROBE_ASAN
  __asan_unpoison_memory_region(address, bytes);
#endif
#if RETPROBE_VALGRIND
  VALGRIND_MAKE_MEM_DEFINED(address, bytes);
#endif
}
inline void ForbidUse([[maybe_unused]] const void* address,
                      [[maybe_unused]] uint64_t bytes) {
#if RETPROBE_ASAN
  __asan_poison_memory_region(address, bytes);
#endif
#if RETPROBE_VALGRIND
  VALGRIND_MAKE_MEM_NOACCESS(address, bytes);
#endif
}

// The same of an object that is popped or pushed: valgrind remembers by whom.
// `pool` is any address that is the pool's own.
inline void BeginUse([[maybe_unused]] const void* pool, const void* object,
                     uint64_t bytes) {
#if RETPROBE_VALGRIND
  VALGRIND_MEMPOOL_ALLOC(pool, object, bytes);
#endif
  AllowUse(object, bytes);
}
inline void EndUse([[maybe_unused]] const void* pool, const void* object,
                   uint64_t bytes) {
#if RETPROBE_VALGRIND
  VALGRIND_MEMPOOL_FREE(pool, object);
#endif
  ForbidUse(object, bytes);
}

inline void BeginPool([[maybe_unused]] const void* pool) {
#if RETPROBE_VALGRIND
  VALGRIND_CREATE_MEMPOOL(pool, 0, 0);
#endif
}
inline void EndPool([[maybe_unused]] const void* pool) {
#if RETPROBE_VALGRIND
  VALGRIND_DESTROY_MEMPOOL(pool);
#endif
}

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_MEMORY_CHECKERS_H_
