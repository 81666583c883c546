// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_H_
#define RETPROBE_OBJPOOL_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "retprobe/export.h"

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
// in signal handlers in their middle; so may everything that is const, and
// Drain. The destructor must be alone. After fork, the child has its own copy,
// without the objects that other threads held.
class RETPROBE_API ObjPool {
 public:
  // How objects find their way between CPUs.
  enum class Backend : uint8_t {
    kAuto,  // rseq if it works here, unless RETPROBE_POOL_BACKEND=cas
    kRseq,  // restartable sequences, or an error
    kCas,   // compare-and-swap alone: dearer, works everywhere
  };

  struct Options {
    // Bytes, 1 .. 2^30; rounded up to a multiple of `alignment`.
    size_t object_size = 0;

    // Objects that exist from the start, 0 .. 2^24 - 2.
    size_t object_count = 0;

    // Objects there may ever be, object_count .. 2^24 - 2, at least 1. 0:
    // object_count, a fixed pool. Address space for all of them is reserved;
    // memory is used once they are.
    size_t max_objects = 0;

    // Of each object, in bytes: a power of two, 1 .. 4096.
    size_t alignment = 64;

    // How many objects a CPU may keep to itself, 0 .. 62; -1: half of its fair
    // share. Kept objects are still found by others, but dearly.
    int magazine_capacity = -1;

    Backend backend = Backend::kAuto;

    // Called once for each object, before its first Pop: by Create for the
    // first `object_count`, by a Pop for the others, wherever that may be (in a
    // signal handler, too). The object's bytes are zero. May be null.
    void (*init)(void* object, void* context) = nullptr;
    void* init_context = nullptr;

    // Which CPUs there are and which are near. Must outlive the pool. Null:
    // this machine's. For tests.
    const Topology* topology = nullptr;
  };

  // Errors: kInvalidArgument, naming the option and its range;
  //   kResourceExhausted, no memory; kUnimplemented, Backend::kRseq where there
  //   is none. On error nothing is left behind.
  static absl::StatusOr<std::unique_ptr<ObjPool>> Create(
      const Options& options);

  ObjPool(const ObjPool&) = delete;
  ObjPool& operator=(const ObjPool&) = delete;

  // Requires: nobody uses an object or the pool any more.
  ~ObjPool();

  // Takes an object; null when there is none, which is counted as a miss.
  // Null means that at some moment of the call all objects were in use. Two
  // things may hide an idle object for a moment: a thread preempted while it
  // moves a batch of them to its CPU (not while the pool is starved), and more
  // pushes behind the search's back than it has patience for. Its contents are
  // as they were pushed.
  // Progress: lock-free. Signals: async-signal-safe; errno is left alone.
  void* Pop() noexcept;

  // Gives an object back. Cannot fail.
  // Requires: `object` was popped from this pool and not pushed since.
  // Progress, Signals: as Pop.
  void Push(void* object) noexcept;

  // Takes all objects out of what CPU `cpu` keeps, to where every CPU looks:
  // for a CPU that has gone offline. Returns how many.
  size_t Drain(int cpu) noexcept;

  // Whether `object` is the address of an object of this pool, created or not.
  bool Contains(const void* object) const noexcept;

  // Objects are numbered from 0. Requires: Contains(object).
  size_t IndexOf(const void* object) const noexcept;

  // Object `index`, in use or not; null when it does not exist (yet).
  void* ObjectAt(size_t index) const noexcept;

  // Calls `visit(void* object)` for every object that exists, in use or not.
  // Whoever uses it goes on doing so.
  template <typename Visitor>
  void ForEachObject(Visitor&& visit) const {
    const size_t end = created();
    for (size_t index = 0; index < end; ++index) {
      if (void* object = ObjectAt(index)) visit(object);
    }
  }

  // Objects that exist, or are just being made.
  size_t created() const noexcept;

  // Objects there may ever be.
  size_t capacity() const noexcept;

  // kRseq or kCas.
  Backend backend() const noexcept;

  // Objects a CPU may keep to itself now: 0 while the pool is starved.
  int magazine_capacity() const noexcept;

  // What the magazines, which do not count, left over to the slow paths.
  struct Stats {
    uint64_t pushes = 0;  // objects put where all CPUs can reach them
    uint64_t steals = 0;  // pops that found an object at another CPU
    uint64_t drains = 0;  // pops that emptied other CPUs' magazines
    uint64_t misses = 0;  // pops that found nothing
    uint64_t grown = 0;   // objects created after the start
  };
  Stats GetStats() const noexcept;

  // Where the trampoline's assembly finds the magazines (objpool/magazine.h).
  void* magazines() const noexcept { return magazines_; }

 private:
  ObjPool(PoolCore* core, size_t mapped) noexcept;

  // What an inline fast path will need; see objpool/magazine.h.
  void* magazines_;
  ptrdiff_t rseq_;

  PoolCore* core_;
  size_t mapped_;
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_H_
