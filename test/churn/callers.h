// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CHURN_CALLERS_H_
#define RETPROBE_TEST_CHURN_CALLERS_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

namespace retprobe::test {

// Functions that are called without pause, with entries of several kinds.
inline constexpr size_t kTargets = 8;
void* TargetAddress(size_t target);

// Calls `target`; whether the result was right. The last one is left by an
// exception, through two frames of itself.
bool CallTarget(size_t target);
inline constexpr size_t kThrower = kTargets - 1;
inline constexpr long kThrownThrough = 2;

// Threads that call all targets until told to stop.
class Callers {
 public:
  struct How {
    int threads = 8;
    bool throwing = false;     // kThrower too
    bool interrupted = false;  // signals whose handler calls targets
    bool ending = false;       // threads live for some hundred calls each
  };
  explicit Callers(const How& how);
  ~Callers() { Stop(); }
  Callers(const Callers&) = delete;
  Callers& operator=(const Callers&) = delete;

  void Stop();

  // After Stop().
  long calls(size_t target) const { return calls_[target]; }
  long wrong() const { return wrong_; }
  size_t last_wrong() const { return last_wrong_; }  // its target

  // Blocks until `more` further rounds have been called.
  void Await(long more) const;

 private:
  void Call(long rounds);
  void Run();

  const How how_;
  std::atomic<bool> stop_{false};
  std::atomic<long> rounds_{0};
  std::atomic<long> wrong_{0};
  std::atomic<size_t> last_wrong_{0};
  std::array<std::atomic<long>, kTargets> calls_{};
  std::vector<std::thread> threads_;
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_CHURN_CALLERS_H_
