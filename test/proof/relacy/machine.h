// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PROOF_RELACY_MACHINE_H_
#define RETPROBE_TEST_PROOF_RELACY_MACHINE_H_

// Not relacy.hpp, which makes macros of memory_order_relaxed, new and others.
// In this order. clang-format off
#include <relacy/atomic.hpp>
#include <relacy/atomic_fence.hpp>
#include <relacy/backoff.hpp>
#include <relacy/base.hpp>
#include <relacy/context.hpp>
#include <relacy/context_base_impl.hpp>
#include <relacy/stdlib/condition_variable.hpp>
#include <relacy/stdlib/event.hpp>
#include <relacy/stdlib/mutex.hpp>
#include <relacy/stdlib/semaphore.hpp>
#include <relacy/test_suite.hpp>
#include <relacy/var.hpp>
// clang-format on

#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>

// The machine that the pool's headers run on here: Relacy's, with the C++
// memory model, stale reads and spurious failures, plus what Relacy has not: a
// membarrier, restartable sequences, and accesses whose order can be weakened.

namespace retprobe::proof {

// Nothing here may allocate: Relacy counts allocations as the model's.

// An access as the source names it. `failure` as `order` but for
// compare-and-swap.
struct Site {
  const char* file;
  int line;
  const char* operation;
  std::memory_order order;
  std::memory_order failure;
};

// The access that has other orders than its source says. At most one.
struct Weakened {
  char file[64];
  int line;
  std::memory_order order;
  std::memory_order failure;
};
inline Weakened weakened;

// The ordered accesses that were made, by line; of the few in the same line
// the first.
inline Site sites[1024];

inline const char* BaseName(const char* path) {
  const char* slash = std::strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

inline void NoteSite(const Site& site) {
  for (unsigned at = site.line;; ++at) {
    Site& known = sites[at % 1024];
    if (known.file == nullptr) known = site;
    if (known.line == site.line && std::strcmp(known.file, site.file) == 0) {
      return;
    }
  }
}

inline bool Orders(std::memory_order order) {
  return order != std::memory_order_relaxed;
}

// What a thread of the model owes to others' membarriers, and whether the
// restartable sequence it is in has been aborted.
struct Cpu {
  bool active;
  bool aborted;
  uint32_t requested;
  uint32_t served;
};
inline constexpr int kMaxThreads = 4;
inline Cpu cpus[kMaxThreads];
inline bool skip_barriers;  // a negative control

// What Check said last.
inline const char* failure;
inline void Check(bool holds, const char* otherwise) {
  if (holds) return;
  failure = otherwise;
  rl::ctx().fail_test(otherwise, rl::test_result_user_assert_failed, $);
}

inline int Thread() { return static_cast<int>(rl::thread_index()); }

inline rl::timestamp_t OwnTime() {
  return rl::ctx().threadx_->own_acq_rel_order_;
}

// A moment of a thread, between two of its stores.
struct Moment {
  int thread;
  rl::timestamp_t at;
  static Moment Now() { return {Thread(), OwnTime() + 1}; }
  // Whether it happened before what this thread does now.
  bool IsPast() const {
    return thread == Thread() ||
           rl::ctx().threadx_->acq_rel_order_[thread] >= at;
  }
};

// Loads that a successful compare-and-swap has validated: what overwrites the
// value must happen after them. Relacy runs each thread in order and so never
// lets a load see the future; this catches what would let it.
class ReadCheck {
 public:
  // From now on what overwrites the value must happen after every load that a
  // thread's next compare-and-swap, if it succeeds, relies on.
  void CheckOverwrites() { on_ = true; }

 protected:
  void Loaded() const {
    if (on_) pending[Thread()].Add({this, Moment::Now()});
  }
  static void Swapped(bool done) {
    Few<Pending>& loads = pending[Thread()];
    for (int i = 0; done && i < loads.count; ++i) {
      loads.items[i].of->reads_.Add(loads.items[i].when);
    }
    loads.count = 0;
  }
  void Overwrite() {
    for (int i = 0; i < reads_.count; ++i) {
      Check(reads_.items[i].IsPast(), "overwrites what may still be read");
    }
    reads_.count = 0;
  }

 private:
  friend void BeginMachine();

  template <typename T>
  struct Few {
    void Add(const T& item) {
      Check(count < 16, "the model's own array is too short");
      items[count++] = item;
    }
    T items[16];
    int count;
  };
  struct Pending {
    const ReadCheck* of;
    Moment when;
  };

  static inline Few<Pending> pending[kMaxThreads];
  bool on_ = false;
  mutable Few<Moment> reads_ = {};
};

// Every access begins with it: a membarrier that somebody waits for takes place
// between two of our accesses.
inline void Serve() {
  Cpu& self = cpus[Thread()];
  if (!self.active || self.served == self.requested) return;
  const uint32_t upto = self.requested;
  rl::atomic_thread_fence(rl::mo_seq_cst, $);
  self.aborted = true;
  self.served = upto;
}

inline void Barrier() {
  if (skip_barriers) return;
  const int self = Thread();
  rl::atomic_thread_fence(rl::mo_seq_cst, $);
  uint32_t wanted[kMaxThreads];
  for (int i = 0; i < kMaxThreads; ++i) wanted[i] = ++cpus[i].requested;
  cpus[self].served = cpus[self].requested;
  for (int i = 0; i < kMaxThreads; ++i) {
    while (i != self && cpus[i].active &&
           static_cast<int32_t>(cpus[i].served - wanted[i]) < 0) {
      rl::yield(1, $);
      Serve();
    }
  }
  rl::atomic_thread_fence(rl::mo_seq_cst, $);
}

inline void BeginMachine() {
  for (Cpu& cpu : cpus) cpu = {};
  for (auto& loads : ReadCheck::pending) loads.count = 0;
}
// First and last of what a thread of a model does.
struct Running {
  Running() { cpus[Thread()].active = true; }
  ~Running() {
    rl::atomic_thread_fence(rl::mo_seq_cst, $);
    cpus[Thread()].active = false;
  }
};

// std::atomic as Relacy models it. Zero at first.
template <typename T>
class Atomic : public ReadCheck {
 public:
  Atomic() { atomic_.store(T(), rl::mo_relaxed, $); }
  Atomic(const Atomic&) = delete;

  T load(std::memory_order order, const char* file = __builtin_FILE(),
         int line = __builtin_LINE()) const {
    Serve();
    order = At(file, line, "load", order, order).first;
    const T value = atomic_.load(Relacy(order), Info(file, line));
    Loaded();
    return value;
  }
  void store(T value, std::memory_order order,
             const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    Serve();
    order = At(file, line, "store", order, order).first;
    atomic_.store(value, Relacy(order), Info(file, line));
    Overwrite();
  }
  T exchange(T value, std::memory_order order,
             const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    Serve();
    order = At(file, line, "exchange", order, order).first;
    return atomic_.exchange(value, Relacy(order), Info(file, line));
  }
#define RETPROBE_FETCH(operation)                                     \
  T operation(T value, std::memory_order order,                       \
              const char* file = __builtin_FILE(),                    \
              int line = __builtin_LINE()) {                          \
    Serve();                                                          \
    order = At(file, line, #operation, order, order).first;           \
    return atomic_.operation(value, Relacy(order), Info(file, line)); \
  }
  RETPROBE_FETCH(fetch_add)
  RETPROBE_FETCH(fetch_sub)
  RETPROBE_FETCH(fetch_and)
  RETPROBE_FETCH(fetch_or)
#undef RETPROBE_FETCH
  bool compare_exchange_weak(T& expected, T value, std::memory_order order,
                             std::memory_order failure,
                             const char* file = __builtin_FILE(),
                             int line = __builtin_LINE()) {
    return CompareExchange<true>(expected, value, order, failure, file, line);
  }
  bool compare_exchange_strong(T& expected, T value, std::memory_order order,
                               std::memory_order failure,
                               const char* file = __builtin_FILE(),
                               int line = __builtin_LINE()) {
    return CompareExchange<false>(expected, value, order, failure, file, line);
  }

 private:
  static rl::memory_order Relacy(std::memory_order order) {
    switch (order) {
      case std::memory_order_relaxed:
        return rl::mo_relaxed;
      case std::memory_order_acquire:
        return rl::mo_acquire;
      case std::memory_order_release:
        return rl::mo_release;
      case std::memory_order_acq_rel:
        return rl::mo_acq_rel;
      default:
        return rl::mo_seq_cst;
    }
  }
  static rl::debug_info Info(const char* file, int line) {
    return rl::debug_info("", BaseName(file), line);
  }
  static std::pair<std::memory_order, std::memory_order> At(
      const char* file, int line, const char* operation,
      std::memory_order order, std::memory_order failure) {
    if (!Orders(order) && !Orders(failure)) return {order, failure};
    if (line == weakened.line &&
        std::strcmp(BaseName(file), weakened.file) == 0) {
      return {weakened.order, weakened.failure};
    }
    NoteSite({BaseName(file), line, operation, order, failure});
    return {order, failure};
  }

  template <bool kWeak>
  bool CompareExchange(T& expected, T value, std::memory_order order,
                       std::memory_order failure, const char* file, int line) {
    Serve();
    const auto [success, otherwise] =
        At(file, line, "compare_exchange", order, failure);
    // Relacy does not know a failure that is stronger than the success.
    const bool fence =
        Orders(otherwise) && (success == std::memory_order_relaxed ||
                              success == std::memory_order_release);
    const bool done = atomic_.compare_exchange(
        rl::bool_t<kWeak>(), expected, value, Relacy(success),
        fence ? rl::mo_relaxed : Relacy(otherwise), Info(file, line));
    if (!done && fence) rl::atomic_thread_fence(rl::mo_acquire, $);
    Swapped(done);
    if (done) Overwrite();
    return done;
  }

  mutable rl::atomic<T> atomic_;
};

}  // namespace retprobe::proof

#endif  // RETPROBE_TEST_PROOF_RELACY_MACHINE_H_
