// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_POOL_STRESS_H_
#define RETPROBE_TEST_POOL_STRESS_H_

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

namespace retprobe::test {

// Seconds for a stress case, as RETPROBE_STRESS_SECONDS says, else 2.
inline double StressSeconds() {
  const char* text = std::getenv("RETPROBE_STRESS_SECONDS");
  return text != nullptr ? std::atof(text) : 2;
}

inline uint64_t Random(uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

inline void PinTo(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

// Puts the CPUs back that this thread may use.
class AffinityGuard {
 public:
  AffinityGuard() { sched_getaffinity(0, sizeof(set_), &set_); }
  ~AffinityGuard() { sched_setaffinity(0, sizeof(set_), &set_); }
  AffinityGuard(const AffinityGuard&) = delete;
  AffinityGuard& operator=(const AffinityGuard&) = delete;
  unsigned count() const { return CPU_COUNT(&set_); }
  // The `n`th CPU of those, round the corner.
  unsigned Nth(unsigned n) const {
    n %= count();
    for (unsigned cpu = 0;; ++cpu) {
      if (CPU_ISSET(cpu, &set_) && n-- == 0) return cpu;
    }
  }

 private:
  cpu_set_t set_;
};

// Interrupts the thread that made it, again and again.
class SignalStorm {
 public:
  explicit SignalStorm(long interval_ns) {
    sigevent event = {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGRTMIN;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    timer_create(CLOCK_MONOTONIC, &event, &timer_);
    const itimerspec every = {{0, interval_ns}, {0, interval_ns}};
    timer_settime(timer_, 0, &every, nullptr);
  }
  ~SignalStorm() { timer_delete(timer_); }
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;

 private:
  timer_t timer_;
};

struct StressOptions {
  int threads = 4;
  int hold = 4;  // objects a thread holds at most, handlers apart
  double seconds = 1;
  bool signals = false;
  bool migrate = false;
  bool stop_at_failure = false;
};

// Runs threads that pop and push, and knows who owns what. Pool: Pop, Push,
// IndexOf, capacity.
template <typename Pool>
class PoolStress {
 public:
  explicit PoolStress(Pool& pool)
      : pool_(pool),
        owned_(std::make_unique<Owned[]>(pool.capacity())),
        size_(pool.capacity()) {}

  void Run(const StressOptions& options) {
    options_ = options;
    stop_.store(false);
    current_.store(this);
    if (options.signals) {
      struct sigaction action = {};
      action.sa_handler = [](int) {
        if (auto* stress = current_.load()) stress->OnSignal();
      };
      action.sa_flags = SA_RESTART;
      sigaction(SIGRTMIN, &action, nullptr);
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < options.threads; ++i) {
      threads.emplace_back([this, i] { Thread(i); });
    }
    const auto end = std::chrono::steady_clock::now() +
                     std::chrono::duration<double>(options.seconds);
    while (std::chrono::steady_clock::now() < end &&
           !(options.stop_at_failure && failed())) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    stop_.store(true);
    for (std::thread& thread : threads) thread.join();
    current_.store(nullptr);
  }

  // Pops until nothing is left and pushes it all back. Returns how many.
  size_t CountIdle() {
    std::vector<void*> objects;
    while (objects.size() <= size_) {
      void* object = pool_.Pop();
      if (object == nullptr) break;
      Own(object);
      objects.push_back(object);
    }
    for (void* object : objects) Release(object);
    return objects.size();
  }

  // What must not happen: an object handed out while somebody has it, its
  // contents changed meanwhile, an address from nowhere.
  uint64_t duplicates() const { return duplicates_.load(); }
  uint64_t overwritten() const { return overwritten_.load(); }
  uint64_t foreign() const { return foreign_.load(); }
  bool failed() const { return duplicates() + overwritten() + foreign() != 0; }

  uint64_t hits() const { return hits_.load(); }
  uint64_t misses() const { return misses_.load(); }
  uint64_t signals() const { return signals_.load(); }

  bool Own(void* object) {
    const size_t index = pool_.IndexOf(object);
    if (index >= size_) {
      ++foreign_;
      return false;
    }
    if (owned_[index].by.exchange(1) != 0) {
      ++duplicates_;
      return false;
    }
    *static_cast<std::atomic<uint64_t>*>(object) = index ^ kMark;
    return true;
  }

  void Release(void* object) {
    const size_t index = pool_.IndexOf(object);
    if (*static_cast<std::atomic<uint64_t>*>(object) != (index ^ kMark)) {
      ++overwritten_;
    }
    *static_cast<std::atomic<uint64_t>*>(object) = 0;
    owned_[index].by.store(0);
    pool_.Push(object);
  }

 private:
  static constexpr uint64_t kMark = 0x5eed0b7ec7;
  struct alignas(64) Owned {
    std::atomic<uint8_t> by{0};
  };

  void Thread(int number) {
    const AffinityGuard affinity;
    std::unique_ptr<SignalStorm> storm;
    if (options_.signals) {
      storm = std::make_unique<SignalStorm>(100'000 + 7'919 * number);
    }
    uint64_t random = 88172645463325252u + 977 * number;
    uint64_t hits = 0;
    uint64_t misses = 0;
    std::vector<void*> held;
    while (!stop_.load(std::memory_order_relaxed)) {
      const uint64_t wanted = 1 + Random(random) % options_.hold;
      while (held.size() < wanted && !stop_.load(std::memory_order_relaxed)) {
        void* object = pool_.Pop();
        if (object == nullptr) {
          ++misses;
          break;
        }
        ++hits;
        if (Own(object)) held.push_back(object);
      }
      if (options_.migrate && Random(random) % 64 == 0) {
        PinTo(affinity.Nth(static_cast<unsigned>(Random(random) >> 32)));
      }
      while (!held.empty() && Random(random) % 4 != 0) {
        Release(held.back());
        held.pop_back();
      }
      if (held.size() == static_cast<size_t>(options_.hold)) {
        Release(held.front());
        held.erase(held.begin());
      }
    }
    for (void* object : held) Release(object);
    hits_ += hits;
    misses_ += misses;
  }

  void OnSignal() {
    signals_.fetch_add(1, std::memory_order_relaxed);
    void* first = pool_.Pop();
    void* second = pool_.Pop();
    if (first != nullptr && Own(first)) Release(first);
    if (second != nullptr && Own(second)) Release(second);
  }

  static inline std::atomic<PoolStress*> current_{nullptr};

  Pool& pool_;
  std::unique_ptr<Owned[]> owned_;
  size_t size_;
  StressOptions options_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> duplicates_{0};
  std::atomic<uint64_t> overwritten_{0};
  std::atomic<uint64_t> foreign_{0};
  std::atomic<uint64_t> hits_{0};
  std::atomic<uint64_t> misses_{0};
  std::atomic<uint64_t> signals_{0};
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_POOL_STRESS_H_
