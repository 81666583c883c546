// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_OBJPOOL_POOL_CORE_H_
#define RETPROBE_OBJPOOL_POOL_CORE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "base/cache_line.h"
#include "objpool/freelist.h"
#include "objpool/magazine.h"
#include "objpool/occupancy.h"
#include "objpool/slot.h"
#include "objpool/state.h"
#include "topology/steal_order.h"

#ifndef RETPROBE_DEBUG_CHECKS
#define RETPROBE_DEBUG_CHECKS 0
#endif

namespace retprobe {

// A node's share of the objects, by index. What was never handed out begins at
// `fresh`; below `initial_end` it exists from the start.
template <typename P>
struct alignas(kCacheLine) ObjectRange {
  typename P::template Atomic<uint32_t> fresh;
  uint32_t begin;
  uint32_t initial_end;
  uint32_t end;
};

// What Create decides; never changes after.
template <typename P>
struct PoolShape {
  template <typename T>
  using Atomic = typename P::template Atomic<T>;

  std::byte* magazines;
  Slot<P>* slots;             // `cpus` CPUs' and `nodes` depots
  Atomic<uint32_t>* entries;  // of the CPUs' rings
  std::byte* objects;
  Atomic<uint32_t>* links;
  Atomic<uint64_t>* flags;      // of places; see occupancy.h
  ObjectRange<P>* ranges;       // `nodes` of them
  Atomic<uint64_t>* seals;      // null without debug checks
  StealTable steal;             // of at least `cpus` CPUs
  const uint16_t* node_of_cpu;  // 0 .. nodes - 1
  void (*init)(void* object, void* context);
  void (*fini)(void* object, void* context);
  void* context;
  void (*release)(BasicMagazineHeader<P>& header);  // the last came home
  uint64_t object_stride;
  uint64_t stride_inverse;
  int stride_shift;
  int ring_shift;  // a ring has 1 << ring_shift entries
  uint32_t cpus;
  uint32_t nodes;
  uint32_t initial_objects;
  uint32_t max_objects;
  uint32_t batch;         // objects to move at once
  uint32_t growth_chunk;  // objects to make at once
  uint32_t calm_pushes;   // of one CPU, that open the pool again; 2^n
  uint32_t futile_limit;  // searches of one CPU, that clear flags
  // Objects in a magazine's array; and in that of a CPU that is alone.
  uint32_t array_capacity;
  uint32_t sole_capacity;
  bool use_rseq;       // rings, and CPU ids from the registration
  bool use_magazines;  // only with rings
  bool use_spares;
  bool closes;  // with magazines or spares: settles when a pop finds nothing
  bool push_home;
  bool idle_readable;  // memory checkers are to leave idle objects alone
  bool watched;        // debug checks or memory checkers look at each object
};

// A pool without its set-up: what probed calls run. Everything here is
// lock-free, async-signal-safe, and calls nothing outside the library but the
// callbacks (and the kernel, for a barrier). Lives in the pool's own memory,
// which is zero before; ObjPool::Create fills in the shape.
//
// Public calls are defined in popping.h, with searching.h, and pushing.h, the
// ways objects leave other CPUs' magazines in closing.h, and come back into
// them in opening.h, how many there are in sizing.h.
template <typename P>
struct BasicPoolCore : PoolShape<P> {
  template <typename T>
  using Atomic = typename P::template Atomic<T>;
  using Magazine = BasicMagazine<P>;
  using Header = BasicMagazineHeader<P>;

  // Inlined into the two functions that fast paths call.
  static void* PopSlow(Header& header) noexcept;
  static void PushSlow(Header& header, void* object) noexcept;

  // Takes everything out of CPU `from`'s slot and magazine, to its node's
  // depot. Returns how many objects.
  uint32_t DrainCpu(uint32_t from) noexcept;

  // Object `index`, which the caller has, ceases to exist.
  void Drop(uint32_t index) noexcept;
  // Makes them `count`, and at most `most` later, as ObjPool::Resize.
  bool Resize(uint64_t count, uint64_t most) noexcept;
  // From now on objects are retired as they come home; the last one's retiring
  // releases the pool.
  void Fini() noexcept;

  static constexpr uint64_t kFini = uint64_t{1} << 63;
  static constexpr uint64_t Population(uint64_t live, uint64_t limit) {
    return limit << 32 | live;
  }
  static constexpr uint32_t Live(uint64_t population) {
    return static_cast<uint32_t>(population);
  }
  static constexpr uint32_t Limit(uint64_t population) {
    return static_cast<uint32_t>((population & ~kFini) >> 32);
  }

  // Makes object `index`, which nobody has yet.
  void Create(uint32_t index) noexcept;

  // Object `index`, in use or not; null while it does not exist.
  // Requires: index < max_objects.
  void* ObjectAt(uint32_t index) const noexcept {
    // A6 <- R6: the object is as its creation left it.
    return (this->links[index].load(std::memory_order_acquire) & kCreated) != 0
               ? Object(index)
               : nullptr;
  }
  // Calls `visit(object)` for every object, in use or not.
  template <typename Visitor>
  void ForEachObject(Visitor&& visit) const {
    for (uint32_t node = 0; node < this->nodes; ++node) {
      const uint32_t end = HandedOut(this->ranges[node]);
      for (uint32_t i = this->ranges[node].begin; i < end; ++i) {
        if (void* object = ObjectAt(i)) visit(object);
      }
    }
  }
  // The indices of `range` below this exist, did, or are just being made.
  uint32_t HandedOut(const ObjectRange<P>& range) const noexcept {
    // relaxed: links[] say which are complete
    const uint32_t fresh =
        range.begin + range.fresh.load(std::memory_order_relaxed);
    return fresh > range.initial_end ? fresh : range.initial_end;
  }

  bool Contains(const void* object) const noexcept {
    const auto offset = static_cast<uint64_t>(
        static_cast<const std::byte*>(object) - this->objects);
    return offset < uint64_t{this->max_objects} * this->object_stride &&
           Index(object) * uint64_t{this->object_stride} == offset;
  }
  // Requires: Contains(object). An exact division: by the odd part of the
  // stride as its inverse modulo 2^64, by the rest as a shift.
  uint32_t Index(const void* object) const noexcept {
    const auto offset = static_cast<uint64_t>(
        static_cast<const std::byte*>(object) - this->objects);
    return static_cast<uint32_t>((offset >> this->stride_shift) *
                                 this->stride_inverse);
  }
  void* Object(uint32_t index) const noexcept {
    return this->objects + uint64_t{index} * this->object_stride;
  }

  uint32_t places() const noexcept { return this->cpus + this->nodes; }
  // Place `cpu`, or `cpus` + node.
  Slot<P>& SlotOf(uint32_t place) const noexcept { return this->slots[place]; }
  Magazine& MagazineOf(uint32_t cpu) const noexcept {
    return reinterpret_cast<Magazine*>(this->magazines)[cpu];
  }
  static BasicPoolCore& Of(const Header& header) noexcept {
    return *static_cast<BasicPoolCore*>(header.core);
  }
  Header& header() const noexcept {
    return reinterpret_cast<Header*>(this->magazines)[-1];
  }

  // How many objects exist and are not retired, and how many may, in one word,
  // so that neither is judged by another's past: Live(), Limit(). Once Fini was
  // called, kFini, with one object more for Fini itself while that runs.
  alignas(kCacheLine) Atomic<uint64_t> population;
  Freelist<P> retired;             // those that may be made again
  Atomic<uint64_t> freezes;        // see magazine.h
  Atomic<uint64_t> clearings;      // see occupancy.h
  Atomic<uint32_t> lone_patience;  // see opening.h
  Atomic<uint64_t> drains;
  Atomic<uint64_t> grown;

 private:
  static constexpr uint32_t kMaxBatch = 16;

  Occupancy<P> occupancy() noexcept {
    return Occupancy<P>(header().state, this->flags);
  }
  Atomic<uint32_t>* EntriesOf(uint32_t cpu) const noexcept {
    return this->entries + (uint64_t{cpu} << this->ring_shift);
  }
  uint64_t ring_mask() const noexcept {
    return (uint64_t{1} << this->ring_shift) - 1;
  }
  uint32_t NodeOf(uint32_t place) const noexcept {
    return place < this->cpus ? this->node_of_cpu[place] : place - this->cpus;
  }

  // Whether objects may be moved several at once, and be out of sight
  // meanwhile.
  bool MovesBatches(uint64_t state) const noexcept {
    return IsOpen(state) || (this->use_spares && (state & kUnsettled) != 0);
  }

  // popping.h
  uint32_t Here() const noexcept;
  uint32_t TakeOpen(uint32_t here) noexcept;
  [[gnu::noinline]] void* PopUnleaned() noexcept;
  [[gnu::noinline]] void* PopListed(uint32_t here) noexcept;
  [[gnu::noinline]] void* PopNothing(uint32_t here) noexcept;
  void* Found(uint32_t index) noexcept;
  [[gnu::noinline]] void* PopShared(uint32_t here) noexcept;
  uint32_t TakeShared(uint32_t place, uint32_t most) noexcept;
  uint32_t TakeSpares(uint32_t place, uint32_t most) noexcept;
  uint32_t TakeFresh(uint32_t here, bool grow) noexcept;
  uint32_t TakeInitial(ObjectRange<P>& range) noexcept;
  uint32_t Advance(ObjectRange<P>& range, uint32_t end,
                   uint32_t& count) noexcept;
  [[gnu::noinline]] void* PopFurther(uint32_t here, uint64_t state) noexcept;
  void CountMiss(uint32_t here) noexcept;

  // searching.h
  // `asked`: IsStillEmpty said no just now.
  uint32_t TakeAny(uint32_t here, bool grow, bool asked = false) noexcept;
  uint32_t Search(uint32_t here, uint64_t state, uint64_t& pushes) noexcept;
  bool IsSettled(uint32_t here, uint64_t state) noexcept;
  bool IsStillEmpty(uint32_t here) noexcept;
  void NothingFound(uint32_t here, uint64_t state) noexcept;
  bool IsFutile(Slot<P>& slot) noexcept;
  [[gnu::noinline]] void* ClearAndMiss(uint32_t here) noexcept;
  void ClearEmptyPlaces() noexcept;
  bool IsPlaceEmpty(uint32_t place) noexcept;
  uint64_t PushesTo(uint32_t place) const noexcept;
  uint64_t PushesToOthers(uint32_t place) noexcept;
  uint64_t Pushes() noexcept;
  uint64_t Clearings() noexcept;

  // pushing.h
  void PushLean(Slot<P>& slot, uint32_t index, uint32_t here) noexcept;
  [[gnu::noinline]] void PushListed(uint32_t index, uint32_t here) noexcept;
  [[gnu::noinline]] void PushUnleaned(void* object) noexcept;
  [[gnu::noinline]] void MarkPlace(uint32_t place) noexcept;
  void Cache(uint32_t index) noexcept;
  void Share(uint32_t index) noexcept;
  [[gnu::noinline]] void PushShared(void* object, uint32_t here,
                                    uint64_t state) noexcept;
  void PutInto(uint32_t place, uint32_t index) noexcept;
  bool PutSpare(uint32_t place, uint32_t index) noexcept;
  void PutIntoList(uint32_t place, uint32_t index) noexcept;
  arch::RseqResult PutIntoRing(uint32_t here, uint32_t index) noexcept;
  void EaseAt(uint32_t here, uint64_t pushes) noexcept;
  uint32_t HomeOf(uint32_t index) const noexcept;

  // opening.h
  void Ease(uint32_t here) noexcept;
  bool IsLone(uint32_t here) noexcept;
  bool OpenFor(uint32_t cpu, uint64_t state) noexcept;
  bool Bar(Atomic<int64_t>& word) noexcept;
  void LiftBars(uint32_t cpu) noexcept;

  // closing.h
  struct FrozenWord {
    Atomic<int64_t>* word;
    int64_t frozen;
    uint32_t cpu;
  };
  int64_t Freeze(Atomic<int64_t>& word, bool front) noexcept;
  int FreezeMagazine(uint32_t cpu, FrozenWord* frozen) noexcept;
  void Confirm(const FrozenWord& frozen) noexcept;
  uint32_t TakeFrozen(uint32_t cpu) noexcept;
  void ConfirmFrozen(uint32_t cpu) noexcept;
  void Close(uint64_t bits) noexcept;
  bool Settle() noexcept;

  // sizing.h
  uint32_t Make(uint32_t node, uint32_t count) noexcept;
  uint32_t MakeOne(uint32_t node) noexcept;
  bool Grow(uint32_t count) noexcept;
  void MayGrow() noexcept;
  void GiveRoomBack() noexcept;
  bool IsOneTooMany(uint64_t state) noexcept;
  bool CountDownTo(uint32_t least) noexcept;
  void RetireIdle(uint32_t count) noexcept;
  void Retire(uint32_t index) noexcept;
  void CountRetired(void (*release)(Header&), Header& pool) noexcept;
};

}  // namespace retprobe

#endif  // RETPROBE_OBJPOOL_POOL_CORE_H_
