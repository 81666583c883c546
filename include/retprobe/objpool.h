// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_H_
#define RETPROBE_OBJPOOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "retprobe/arch/magazine.h"
#include "retprobe/export.h"

// The slow paths, as inlined fast paths call them. Not an interface.
extern "C" {
RETPROBE_API void* retprobe_pop_slow(void* magazines) noexcept;
RETPROBE_API void retprobe_push_slow(void* magazines, void* object) noexcept;
}

namespace retprobe {

struct PoolCore;
struct Topology;

// A pool of equal-sized objects that stay where they are, spread over the CPUs.
//
// Pop takes an object that this CPU put away last, if there is one; else an
// older one, one of the nearest other CPU, or one that was never used. Push
// gives it back on whatever CPU it then runs. Neither allocates, waits or takes
// a lock, so both are for code that cannot: signal handlers, probe handlers,
// allocators. The kernel is asked only to get at the objects other CPUs keep to
// themselves, when there are no others.
//
// Not the right tool when objects differ in size, or when all of them shall be
// constructed and destroyed each time.
//
// Concurrency: Pop and Push of any objects may run at once in any threads and
// in signal handlers in their middle; so may everything that is const, Drop,
// Drain and Resize. Fini and the destructor must be alone. After fork, the
// child has its own copy, without the objects that other threads held: see
// Reclaim.
//
// A shared library that calls Pop or Push must not be unmapped by dlclose, even
// when its pools are gone: threads' rseq areas point at the sequences that were
// inlined there. Linked through pkg-config or Meson it is not (-z nodelete).
class RETPROBE_API ObjPool {
 public:
  // How objects find their way between CPUs.
  enum class Backend : uint8_t {
    kAuto,            // kRseq if it works here, else kCas
    kRseq,            // restartable sequences, or an error
    kCas,             // compare-and-swap alone: dearer, works everywhere
    kPercpuFreelist,  // a lock-free list per CPU, nothing else
    kFreelist,        // one lock-free list for all
  };

  // On which NUMA nodes objects lie.
  enum class Placement : uint8_t {
    kLocal,       // every node has its share, and its CPUs take of that first
    kInterleave,  // page by page on all of them
    kNode,        // all on `node`
  };

  // What is left at its default here, the configuration may set (config.h):
  // pool.backend=cas in RETPROBE_OPTIONS forces that on every such pool.
  struct Options {
    // Bytes, 1 .. 2^30; rounded up to a multiple of `alignment`.
    size_t object_size = 0;

    // Objects that exist from the start, 0 .. 2^24 - 2.
    size_t object_count = 0;

    // Objects there may ever be, object_count .. 2^24 - 2, at least 1. 0:
    // object_count, a fixed pool. Address space for all of them is reserved;
    // memory is used once they are.
    size_t max_objects = 0;

    // How many objects a pop that finds none makes, 1 .. 2^24 - 2; 0: half of
    // what a CPU may keep, at most 16.
    size_t growth_chunk = 0;

    // Of each object, in bytes: a power of two, 1 .. 4096.
    size_t alignment = 64;

    // How many objects a CPU may keep to itself, 0 .. 62; -1: half of its fair
    // share. Kept objects are still found by others, but dearly.
    int magazine_capacity = -1;

    // How many more a CPU puts where all can take them before it resorts to a
    // list: 8 .. 65536, rounded up to a power of two; 0: twice its fair share.
    size_t ring_capacity = 0;

    Backend backend = Backend::kAuto;

    Placement placement = Placement::kLocal;
    // With Placement::kNode: its number, as the system counts.
    int node = -1;
    // With Placement::kLocal: whether objects of another node, when they leave
    // what a CPU keeps to itself, go back to their own.
    bool push_home = true;
    // Whether objects may lie in huge pages: fewer TLB misses, but memory is
    // taken 2 MiB at a time.
    bool huge_pages = false;

    // Called once for each object, before its first Pop: by Create for the
    // first `object_count`, by a Pop for the others, wherever that may be (in a
    // signal handler, too). The object's bytes are zero, or, in the place of a
    // dropped one, as that left them. May be null.
    void (*init)(void* object, void* context) = nullptr;
    // Called once for each object when it ceases to exist. May be null.
    void (*fini)(void* object, void* context) = nullptr;
    // Called once, when the last object is gone and before the pool's memory
    // is: by the destructor, or by who pushes or drops the last object after
    // Fini. May be null.
    void (*release)(void* context) = nullptr;
    void* context = nullptr;

    // Whether somebody reads objects that are idle, through ForEachObject:
    // builds for AddressSanitizer or valgrind then do not complain.
    bool idle_readable = false;

    // Which CPUs there are and which are near. Must outlive the pool. Null:
    // this machine's. For tests.
    const Topology* topology = nullptr;
  };

  // Errors: kInvalidArgument, naming the option and its range, or what is wrong
  //   with the configuration; kResourceExhausted, no memory; kUnimplemented,
  //   Backend::kRseq where there is none; what the system says to a placement.
  //   On error nothing is left behind.
  static absl::StatusOr<std::unique_ptr<ObjPool>> Create(
      const Options& options);

  // Ends a pool whose objects are still out: idle ones cease to exist now, the
  // others as they are pushed or dropped, and the pool with the last of them.
  // Until then `pool` may be used for Push, Drop and what is const.
  // Requires: no Pop or Push under way.
  static void Fini(std::unique_ptr<ObjPool> pool) noexcept;

  ObjPool(const ObjPool&) = delete;
  ObjPool& operator=(const ObjPool&) = delete;

  // The pool lies in memory of its own, with its objects, and goes with it.
  // Requires: nobody uses an object or the pool any more.
  ~ObjPool() = default;
  static void operator delete(ObjPool* pool, std::destroying_delete_t) noexcept;

  // Takes an object; null when there is none, which is counted as a miss.
  // Null means that at some moment of the call all objects were in use. Two
  // things may hide an idle object for a moment: a thread preempted while it
  // moves a batch of them to its CPU (not while the pool is closed, which it is
  // from the first miss on for some time), and more pushes behind the search's
  // back than it has patience for. Its contents are as they were pushed.
  // Progress: lock-free. Signals: async-signal-safe; errno is left alone.
  void* Pop() noexcept {
    const uintptr_t front = arch::FrontPop(magazines(), rseq_);
    if (__builtin_expect(static_cast<intptr_t>(front) > 0, 1)) {
      return reinterpret_cast<void*>(front);
    }
    if (has_magazines_) {
      const uintptr_t object = arch::ArrayPop(magazines(), rseq_);
      if (__builtin_expect(object != arch::kLookFurther, 1)) {
        return reinterpret_cast<void*>(object);
      }
    }
    return retprobe_pop_slow(magazines());
  }

  // Gives an object back. Cannot fail.
  // Requires: `object` was popped from this pool and not pushed since.
  // Progress, Signals: as Pop.
  void Push(void* object) noexcept {
    if (__builtin_expect(arch::FrontPush(magazines(), object, rseq_), 1)) {
      return;
    }
    if (!has_magazines_ || !arch::ArrayPush(magazines(), object, rseq_)) {
      retprobe_push_slow(magazines(), object);
    }
  }

  // Takes up to `count` objects. Returns how many; fewer than asked for means
  // what null means for Pop. Progress, Signals: as Pop.
  size_t PopBatch(void** objects, size_t count) noexcept {
    size_t got = 0;
    while (got < count && (objects[got] = Pop()) != nullptr) ++got;
    return got;
  }

  // Gives `count` objects back. Requires, Progress, Signals: as Push.
  void PushBatch(void* const* objects, size_t count) noexcept {
    for (size_t i = count; i > 0; --i) Push(objects[i - 1]);
  }

  // Says that `object` is not to come back: it ceases to exist. A pop that
  // finds none may make another in its place, as long as there are fewer than
  // there may be.
  // Requires, Progress, Signals: as Push; `fini` is called.
  void Drop(void* object) noexcept;

  // Changes how many objects there are to `object_count`, and how many there
  // may be to `max_objects` (0: no more). More are made at once, idle ones too
  // many cease to exist at once; those in use as they are pushed, while there
  // are more than may be.
  // Errors: kInvalidArgument, beyond capacity(); kResourceExhausted, other
  //   threads are just dropping objects and fewer could be made.
  absl::Status Resize(size_t object_count, size_t max_objects = 0);

  // Takes all objects out of what CPU `cpu` keeps, to where every CPU looks:
  // for a CPU that has gone offline. Returns how many.
  size_t Drain(int cpu) noexcept;

  // Whether `object` is the address of an object of this pool, created or not.
  bool Contains(const void* object) const noexcept;

  // Objects are numbered, not always densely, below capacity().
  // Requires: Contains(object).
  size_t IndexOf(const void* object) const noexcept;

  // Object `index`, in use or not; null when it does not exist (yet).
  void* ObjectAt(size_t index) const noexcept;

  // Calls `visit(void* object)` for every object that exists, in use or not.
  // Whoever uses it goes on doing so.
  template <typename Visitor>
  void ForEachObject(Visitor&& visit) const {
    for (size_t index = 0; void* object = NextObject(index); ++index) {
      visit(object);
    }
  }

  // The objects that are in use, for reports of leaks. Exact while nobody pops
  // or pushes. Allocates.
  std::vector<void*> InUse() const;

  // Pushes all objects in use but those that `held(void* object)` says are:
  // for the child of a fork, where the threads that held the others are gone.
  // Requires: nobody pops or pushes meanwhile. Returns how many.
  template <typename Held>
  size_t Reclaim(Held&& held) {
    size_t reclaimed = 0;
    for (void* object : InUse()) {
      if (held(object)) continue;
      TakeBack(object);
      ++reclaimed;
    }
    return reclaimed;
  }

  // Objects that exist, or are just being made.
  size_t created() const noexcept;

  // Objects there may ever be.
  size_t capacity() const noexcept;

  // Never kAuto.
  Backend backend() const noexcept;

  // Objects a CPU may keep to itself now: 0 while the pool is closed.
  int magazine_capacity() const noexcept;

  // Bytes of memory besides the objects, used or not.
  size_t overhead() const noexcept;

  // What the magazines, which do not count, left over to the slow paths.
  struct Stats {
    uint64_t pushes = 0;  // objects put where all CPUs can reach them
    uint64_t steals = 0;  // pops that found an object at another CPU
    uint64_t drains = 0;  // times the pool was closed to empty magazines
    uint64_t misses = 0;  // pops that found nothing
    uint64_t grown = 0;   // objects created after the start
  };
  Stats GetStats() const noexcept;

  // Where the trampoline's assembly finds the magazines.
  void* magazines() const noexcept {
    return const_cast<char*>(reinterpret_cast<const char*>(this)) +
           kMagazinesOffset;
  }

 private:
  friend struct PoolSetUp;
  ObjPool(PoolCore* core, Backend backend, bool has_magazines) noexcept;

  // Pushes an object that somebody had who is gone.
  void TakeBack(void* object) noexcept;

  // The first object from `index` on, which is set to its number.
  void* NextObject(size_t& index) const noexcept;

  // Magazines lie behind their header, that behind the pool: a constant saves
  // the fast path a load.
  static constexpr size_t kMagazinesOffset = 128;

  ptrdiff_t rseq_;
  PoolCore* core_;
  Backend backend_;
  bool has_magazines_;
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_H_
