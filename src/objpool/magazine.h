// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_MAGAZINE_H_
#define RETPROBE_OBJPOOL_MAGAZINE_H_

// The pool's first tier, shared with the trampoline's assembly: per CPU a small
// LIFO array of object pointers that only an rseq critical section on that CPU
// changes. The layout is therefore a contract; the numbers below are used by
// both sides and checked in C++.
//
//   magazines - 64:  MagazineHeader
//   magazines + (cpu << RETPROBE_MAGAZINE_SHIFT):  Magazine of that CPU
//
// Pop:  count = m->count; if (count <= 0) slow path (signed: a frozen magazine
//       is negative); object = m->objects[count - 1]; commit m->count = count-1
// Push: count = m->count; if (count >= capacity) slow path (unsigned: frozen is
//       huge); m->objects[count] = object; commit m->count = count + 1
//
// In front of the array the trampoline, and only it, keeps one object more:
//
// Pop:  object = m->front; if (object == 0) as above; commit m->front = 0
// Push: if (m->front != 0) as above; commit m->front = object
//
// A call that pops and pushes then waits for one store-to-load forwarding (of
// the pointer) where the count takes two and two additions: 12 cycles that no
// parallelism hides. The object is this CPU's alone; nobody else finds it.
//
// The commit is one plain 8-byte store, the last instruction of the critical
// section. A drain freezes the magazine by a compare-and-swap of its count (see
// FrozenCount), then an rseq membarrier; when the frozen count is still there
// afterwards it is exact and nobody is inside.
#define RETPROBE_MAGAZINE_SHIFT 9
#define RETPROBE_MAGAZINE_SLOTS 62
#define RETPROBE_MAGAZINE_FRONT 504
#define RETPROBE_MAGAZINE_HEADER_CPUS -64
#define RETPROBE_MAGAZINE_HEADER_CAPACITY -56
#define RETPROBE_MAGAZINE_HEADER_POOL -48

#ifndef __ASSEMBLER__
#include <cstddef>
#include <cstdint>

namespace retprobe {

class ObjPool;
struct PoolCore;

// A frozen magazine's count: negative, and never the same twice, so that who
// slept over a thaw and another freeze notices.
//   bit 63  frozen
//   bit 62  confirmed: an rseq membarrier has passed since; objects may be
//           taken by compare-and-swap of the count
//   8..61   how many freezes the pool had seen before this one
//   0..7    objects in the magazine, 1..RETPROBE_MAGAZINE_SLOTS
inline constexpr uint64_t kMagazineFrozen = uint64_t{1} << 63;
inline constexpr uint64_t kMagazineConfirmed = uint64_t{1} << 62;
inline constexpr int kMagazineFreezeShift = 8;
inline constexpr uint64_t kMagazineCountMask = 0xff;

struct MagazineHeader {
  // CPU ids below this have a magazine; 0 when the pool does not use rseq,
  // which sends every pop and push to the slow path. Compared unsigned with the
  // cpu_id of the rseq area, so a thread without a registration (-1, -2) goes
  // there too.
  uint64_t cpus;
  // Objects a magazine may hold, 0..RETPROBE_MAGAZINE_SLOTS. 0 while the pool
  // is starved: then every push goes where all can reach it.
  uint64_t capacity;
  ObjPool* pool;
  PoolCore* core;  // the same pool, as the slow paths know it
  uint64_t reserved[4];
};
static_assert(sizeof(MagazineHeader) == 64);
static_assert(offsetof(MagazineHeader, cpus) ==
              64 + RETPROBE_MAGAZINE_HEADER_CPUS);
static_assert(offsetof(MagazineHeader, capacity) ==
              64 + RETPROBE_MAGAZINE_HEADER_CAPACITY);
static_assert(offsetof(MagazineHeader, pool) ==
              64 + RETPROBE_MAGAZINE_HEADER_POOL);

struct Magazine {
  int64_t count;
  void* objects[RETPROBE_MAGAZINE_SLOTS];
  void* front;
};
static_assert(offsetof(Magazine, front) == RETPROBE_MAGAZINE_FRONT);
static_assert(sizeof(Magazine) == 1 << RETPROBE_MAGAZINE_SHIFT);

}  // namespace retprobe
#endif  // __ASSEMBLER__
#endif  // RETPROBE_OBJPOOL_MAGAZINE_H_
