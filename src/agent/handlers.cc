// SPDX-License-Identifier: Apache-2.0
#include "agent/handlers.h"

#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>

#include "agent/histogram.h"
#include "agent/system_calls.h"
#include "arch/x86_64/cycle_counter.h"
#include "rethook/instance.h"

namespace retprobe::agent {
namespace {

using session::Counters;
using session::EventRecord;
using session::EventRing;

constinit Live no_live = {};

// Initial-exec: the agent is loaded at program start, and a handler must not
// end in __tls_get_addr, which may allocate.
struct ThreadState {
  uint32_t thread;  // its id, valid in `generation`
  uint32_t generation;
};
__attribute__((tls_model(
    "initial-exec"))) thread_local constinit ThreadState thread_state = {};

// What the entry handler leaves for the return handler.
struct Activation {
  uint64_t begin;  // ticks
  uint64_t generation;
};
static_assert(sizeof(Activation) == kActivationData);

uint64_t Ticks(const Live& live) {
  if (live.cycle_counter != 0) return arch::CycleCounter();
  timespec now;
  Syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000 +
         static_cast<uint64_t>(now.tv_nsec);
}

uint64_t Nanoseconds(const Live& live, uint64_t ticks) {
  return static_cast<uint64_t>(static_cast<unsigned __int128>(ticks) *
                                   live.nanoseconds_per_tick_q32 >>
                               32);
}

// The CPU we are on, or were a moment ago; 0 when the kernel does not tell.
// Only a choice of cells: additions to them are atomic.
uint32_t Cpu(const Live& live) {
  const char* thread = static_cast<const char*>(__builtin_thread_pointer());
  const auto* area =
      reinterpret_cast<const struct rseq*>(thread + __rseq_offset);
  const uint32_t cpu = __atomic_load_n(&area->cpu_id_start,
                                       __ATOMIC_RELAXED);  // relaxed: a hint
  return cpu < live.cpus ? cpu : 0;
}

void Add(uint64_t& cell, uint64_t value) {
  __atomic_fetch_add(&cell, value, __ATOMIC_RELAXED);  // relaxed: statistic
}

template <typename T>
T* Cell(T* first, uint64_t stride, uint32_t cpu) {
  return reinterpret_cast<T*>(reinterpret_cast<uintptr_t>(first) +
                              stride * cpu);
}

// On failure `seen` becomes the value that was there instead.
bool Replace(uint64_t& cell, uint64_t& seen, uint64_t value) {
  return __atomic_compare_exchange_n(&cell, &seen, value, true,
                                     __ATOMIC_RELAXED,  // relaxed: as Add
                                     __ATOMIC_RELAXED);
}

void RaiseTo(uint64_t& cell, uint64_t value) {
  uint64_t seen = __atomic_load_n(&cell, __ATOMIC_RELAXED);  // relaxed: as Add
  while (value > seen && !Replace(cell, seen, value)) {
  }
}

// Lowers `cell`, which holds the value + 1, or 0 for none.
void LowerTo(uint64_t& cell, uint64_t value) {
  uint64_t seen = __atomic_load_n(&cell, __ATOMIC_RELAXED);  // relaxed: as Add
  while ((seen == 0 || value + 1 < seen) && !Replace(cell, seen, value + 1)) {
  }
}

uint32_t ThreadId(const Live& live) {
  if (thread_state.generation != live.generation) {
    thread_state.thread = static_cast<uint32_t>(Syscall(SYS_gettid));
    thread_state.generation = live.generation;
  }
  return thread_state.thread;
}

uint64_t Tail(EventRing& ring) {
  // relaxed: only tells progress
  return __atomic_load_n(&ring.tail, __ATOMIC_RELAXED);
}

// Waits until the consumer has moved on from `tail`. False when it has not for
// a second: it is gone or stuck, and the program comes first. Nobody waits
// again for the same tail.
bool AwaitProgress(const Live& live, EventRing& ring, uint64_t tail) {
  // relaxed: a hint that saves waiting
  if (__atomic_load_n(&ring.stalled, __ATOMIC_RELAXED) == tail + 1) {
    return false;
  }
  const uint64_t begin = Ticks(live);
  for (int turn = 0; Tail(ring) == tail; ++turn) {
    if (turn < 64) {
      Syscall(SYS_sched_yield);
      continue;
    }
    const timespec pause = {0, 200000};
    Syscall(SYS_nanosleep, &pause, nullptr);
    if (Nanoseconds(live, Ticks(live) - begin) > 1000000000) {
      // relaxed: as above
      __atomic_store_n(&ring.stalled, tail + 1, __ATOMIC_RELAXED);
      return false;
    }
  }
  return true;
}

// Reserves the next place of `ring`; null when the consumer is stuck.
EventRecord* Reserve(const Live& live, EventRing& ring, uint64_t* position) {
  auto* records = reinterpret_cast<EventRecord*>(&ring + 1);
  // relaxed: validated by Replace below
  uint64_t at = __atomic_load_n(&ring.head, __ATOMIC_RELAXED);
  while (true) {
    EventRecord& record = records[at & (live.ring_capacity - 1)];
    // Taken before the place is looked at, so that progress is not missed.
    const uint64_t tail = Tail(ring);
    // A1 <- R0 (cli/ring_reader.cc): the consumer has read what was here.
    const uint64_t sequence =
        __atomic_load_n(&record.sequence, __ATOMIC_ACQUIRE);
    if (sequence == at) {
      // relaxed: the place's own sequence orders its content. On failure `at`
      // is another's position, and we look at the next place.
      if (Replace(ring.head, at, at + 1)) {
        *position = at;
        return &record;
      }
      continue;
    }
    if (sequence < at && !AwaitProgress(live, ring, tail)) return nullptr;
    at = __atomic_load_n(&ring.head, __ATOMIC_RELAXED);  // relaxed: as above
  }
}

bool RecordEvent(const Live& live, uint32_t cpu, uint32_t function,
                 const ReturnContext& context, uint64_t begin, uint64_t end) {
  EventRing& ring = *Cell(live.rings, live.ring_stride, cpu);
  uint64_t position;
  EventRecord* record = Reserve(live, ring, &position);
  if (record == nullptr) return false;
  record->begin = begin;
  record->duration = end - begin;
  for (int i = 0; i < kEventArguments; ++i) {
    record->arguments[i] = context.argument(i);
  }
  record->result = context.result();
  record->thread = ThreadId(live);
  record->function = function;
  record->reason = static_cast<uint32_t>(context.reason());
  // R1 -> A0 (cli/ring_reader.cc): the record is complete.
  __atomic_store_n(&record->sequence, position + 1, __ATOMIC_RELEASE);
  return true;
}

}  // namespace

Live* g_live = &no_live;

void FunctionCells::Publish(const FunctionCells& cells) {
  histogram = cells.histogram;
  counters_stride = cells.counters_stride;
  histogram_stride = cells.histogram_stride;
  number = cells.number;
  record = cells.record;
  // R2 -> A2: the other fields, for handlers that run already.
  __atomic_store_n(&counters, cells.counters, __ATOMIC_RELEASE);
}

FunctionCells::Missed FunctionCells::MissedSoFar() const {
  // relaxed, all: statistics
  return {{site->missed_empty.load(std::memory_order_relaxed) +
               probe->missed_empty.load(std::memory_order_relaxed),
           site->missed_recursion.load(std::memory_order_relaxed),
           site->missed_dying.load(std::memory_order_relaxed),
           probe->missed_depth.load(std::memory_order_relaxed),
           probe->missed_limit.load(std::memory_order_relaxed)}};
}

void FunctionCells::StoreMissed() const {
  const Missed missed = MissedSoFar();
  uint64_t* const shown[] = {&record->missed_empty, &record->missed_recursion,
                             &record->missed_dying, &record->missed_depth,
                             &record->missed_limit};
  for (int i = 0; i < kReasons; ++i) {
    const uint64_t now = missed.counts[i] - missed_before[i];
    // Looked at first, because the record's cache line is everybody's.
    if (__atomic_load_n(shown[i], __ATOMIC_RELAXED) != now) {
      __atomic_store_n(shown[i], now, __ATOMIC_RELAXED);
    }
  }
}

bool OnEntry(const FunctionCells& cells, EntryContext& context) noexcept {
  const Live& live = *g_live;
  // A3 <- R3 (agent/live.cc): the rings, if any. Their fields are plain.
  if (__atomic_load_n(&live.armed, __ATOMIC_ACQUIRE) == 0) return false;
  // A2 <- R2: the other fields of `cells`.
  Counters* counters = __atomic_load_n(&cells.counters, __ATOMIC_ACQUIRE);
  if (counters == nullptr) return false;
  Add(Cell(counters, cells.counters_stride, Cpu(live))->entered, 1);
  auto* activation = static_cast<Activation*>(context.data());
  activation->generation = live.generation;
  activation->begin = Ticks(live);
  return true;
}

void OnReturn(const FunctionCells& cells, ReturnContext& context) noexcept {
  const Live& live = *g_live;
  uint64_t now = Ticks(live);
  const auto* activation = static_cast<const Activation*>(context.data());
  // In a forked child the parent's activations end a second time.
  // relaxed: the entry of this activation has acquired what Arm published.
  if (__atomic_load_n(&live.armed, __ATOMIC_RELAXED) == 0 ||
      activation->generation != live.generation) {
    return;
  }
  const uint64_t begin = activation->begin;
  if (now < begin) now = begin;
  const uint32_t cpu = Cpu(live);
  // Here, and not only at the end, of which a killed process has none.
  cells.StoreMissed();
  Counters& counters = *Cell(cells.counters, cells.counters_stride, cpu);
  if (context.reason() == EndReason::kAbandoned) {
    Add(counters.abandoned, 1);
    now = begin;
  } else {
    if (context.reason() == EndReason::kUnwound) Add(counters.unwound, 1);
    const uint64_t duration = Nanoseconds(live, now - begin);
    Add(counters.total, duration);
    Add(Cell(cells.histogram, cells.histogram_stride,
             cpu)[histogram::BucketOf(duration)],
        1);
    RaiseTo(counters.longest, duration);
    LowerTo(counters.shortest, duration);
  }
  if (live.rings != nullptr &&
      !RecordEvent(live, cpu, cells.number, context, begin, now)) {
    Add(counters.lost_events, 1);
  }
}

}  // namespace retprobe::agent
