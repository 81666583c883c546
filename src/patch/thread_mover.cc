// SPDX-License-Identifier: Apache-2.0
#include "patch/thread_mover.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "arch/arch.h"
#include "patch/stack_scan.h"
#include "patch/threads.h"

namespace retprobe {

ThreadPatience thread_patience;

namespace {

constexpr size_t kPageSize = 4096;
constexpr size_t kRequests = 64;  // threads asked at once

// One thread asked. `state` is the number of the request times four and what
// has become of it; a handler that comes late finds another number and leaves.
struct Request {
  enum : uint32_t { kFree, kAsked, kTaken, kDone };
  std::atomic<uint32_t> state{kFree};
  StackLimits limits = {nullptr, 0};
  uint64_t page[kPageSize / 8] = {};
};
constinit Request requests[kRequests];

bool Own(const siginfo_t& info) {
  const auto* request = static_cast<const Request*>(info.si_value.sival_ptr);
  return info.si_code == SI_QUEUE && request >= requests &&
         request < requests + kRequests;
}

// Calls no function of the C library: those may be patched at this moment.
void HandleRequest(int signal, siginfo_t* info, void* data) {
  if (!Own(*info)) return;
  auto* request = static_cast<Request*>(info->si_value.sival_ptr);
  const auto number = static_cast<uint32_t>(info->si_errno) * 4;
  uint32_t expected = number + Request::kAsked;
  // A0 <- R0: `changing` and what it stands for, where stacks end, and the
  // page, with which the handler before has done. Relaxed on failure: a request
  // that is not ours, or no more, tells nothing.
  if (!request->state.compare_exchange_strong(
          expected, number + Request::kTaken, std::memory_order_acquire,
          std::memory_order_relaxed)) {
    return;
  }
  auto& registers = static_cast<ucontext_t*>(data)->uc_mcontext.gregs;
  const uintptr_t copy = CopyOf(static_cast<uintptr_t>(registers[REG_RIP]));
  if (copy != 0) registers[REG_RIP] = static_cast<greg_t>(copy);
  FindInterrupted(static_cast<uintptr_t>(registers[REG_RSP]), Contexts::kMove,
                  request->limits, request->page);
  // R1 -> A1: the thread has been moved, and what was read to do it may change.
  request->state.store(number + Request::kDone, std::memory_order_release);
}

// A real-time signal with our handler: the one taken last time if the program
// has left it alone, else the highest one without a handler. 0: none is free.
int RequestSignal() {
  static int taken = 0;
  struct sigaction now;
  if (taken != 0 && sigaction(taken, nullptr, &now) == 0 &&
      now.sa_sigaction == HandleRequest) {
    return taken;
  }
  for (int signal = SIGRTMAX; signal >= SIGRTMIN; --signal) {
    if (sigaction(signal, nullptr, &now) != 0 || now.sa_handler != SIG_DFL) {
      continue;
    }
    struct sigaction ours = {};
    ours.sa_sigaction = HandleRequest;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigfillset(&ours.sa_mask);
    if (sigaction(signal, &ours, nullptr) == 0) return taken = signal;
  }
  return 0;
}

// Sleeps a little longer each time.
class Waiting {
 public:
  void Pause() {
    const timespec brief = {0, turn_.count() * 1000};
    arch::SystemCall(SYS_nanosleep, reinterpret_cast<long>(&brief), 0);
    waited_ += turn_;
    turn_ = std::min(turn_ * 5 / 4 + std::chrono::microseconds(1),
                     std::chrono::microseconds(1000));
  }
  bool Longer(std::chrono::microseconds than) const { return waited_ >= than; }

 private:
  std::chrono::microseconds turn_{20};
  std::chrono::microseconds waited_{0};
};

// Asks every thread once and keeps the books.
class Mover {
 public:
  explicit Mover(int signal)
      : signal_(signal),
        page_(kPageSize / 8),
        mappings_(std::make_unique<std::vector<Mapping>>()) {
    for (const Mapping& mapping : Mappings()) {
      if (mapping.writable) mappings_->push_back(mapping);
    }
    limits_ = {mappings_->data(), mappings_->size()};
  }
  ~Mover() {
    bool through = true;
    for (const Asked& asked : asked_) through &= Withdraw(asked);
    // A handler that has been stopped on its way reads them for ever.
    if (!through) static_cast<void>(mappings_.release());
  }
  Mover(const Mover&) = delete;
  Mover& operator=(const Mover&) = delete;

  // One look at all threads; true when every one of them is clear.
  bool Pass() {
    Collect();
    if (!OtherThreads(&threads_)) return false;
    bool clear = true;
    hindrance_ = nullptr;
    for (const pid_t thread : threads_) {
      if (std::binary_search(clear_.begin(), clear_.end(), thread)) continue;
      const ThreadState state = StateOf(thread);
      if (state.kind == ThreadState::kGone) continue;
      if (IsClear(thread, state)) {
        SetClear(thread);
      } else {
        clear = false;
        Ask(thread);
      }
    }
    return clear;
  }

  // Whether all that is missing is a CPU for those who were asked.
  bool OnlyRunnable() const { return hindrance_ == nullptr; }

  absl::Status Late() const {
    return absl::UnavailableError(absl::StrCat(
        "thread ", last_, " may be inside the bytes to patch and ",
        hindrance_ != nullptr ? hindrance_ : "has not answered in time"));
  }

 private:
  struct Asked {
    pid_t thread;
    Request* request;
    uint32_t number;
  };

  // Whether a blocked thread is away from the bytes, and was for as long as we
  // looked.
  bool IsClear(pid_t thread, const ThreadState& state) {
    if (state.kind != ThreadState::kBlocked || CopyOf(state.pc) != 0 ||
        FindInterrupted(state.sp, Contexts::kFind, limits_, page_.data())) {
      return false;
    }
    const ThreadState again = StateOf(thread);
    return again.kind == ThreadState::kBlocked && again.pc == state.pc &&
           again.sp == state.sp;
  }

  void SetClear(pid_t thread) {
    clear_.insert(std::lower_bound(clear_.begin(), clear_.end(), thread),
                  thread);
  }

  void Ask(pid_t thread) {
    const ThreadStatus status = StatusOf(thread);
    const char* hindrance = nullptr;
    if (status.Blocks(signal_)) {
      hindrance = "blocks the signal that would move it";
    } else if (status.strict) {
      hindrance = "is kept by seccomp from what moving it takes";
    } else if (status.stopped()) {
      hindrance = "is stopped, as by a debugger";
    }
    if (hindrance != nullptr || hindrance_ == nullptr) last_ = thread;
    if (hindrance != nullptr) hindrance_ = hindrance;
    for (const Asked& asked : asked_) {
      if (asked.thread == thread) return;
    }
    if (status.Blocks(signal_) || status.strict) return;
    Request* request = FreeRequest();
    if (request == nullptr) return;  // the next pass tries again
    static uint32_t numbers = 0;
    const uint32_t number = ++numbers & 0x0fffffff;
    request->limits = limits_;
    // R0 -> A0: the patches' state before the request that makes it be read.
    // Sending the signal orders it too, but only by the kernel's own locks.
    request->state.store(number * 4 + Request::kAsked,
                         std::memory_order_release);
    siginfo_t info = {};
    info.si_signo = signal_;
    info.si_code = SI_QUEUE;
    info.si_errno = static_cast<int>(number);
    info.si_pid = static_cast<pid_t>(arch::SystemCall(SYS_getpid));
    info.si_value.sival_ptr = request;
    if (arch::SystemCall(SYS_rt_tgsigqueueinfo, info.si_pid, thread, signal_,
                         reinterpret_cast<long>(&info)) != 0) {
      // Relaxed: nobody was told of it.
      request->state.store(Request::kFree, std::memory_order_relaxed);
      return;
    }
    asked_.push_back({thread, request, number});
  }

  Request* FreeRequest() {
    for (Request& request : requests) {
      // Relaxed: only this thread leaves the free state.
      if (request.state.load(std::memory_order_relaxed) == Request::kFree) {
        return &request;
      }
    }
    return nullptr;
  }

  // Takes the answers that have come.
  void Collect() {
    for (size_t i = 0; i < asked_.size();) {
      const Asked asked = asked_[i];
      // A1 <- R1: the thread has been moved; the bytes may change, and the next
      // handler may have the page.
      const uint32_t state =
          asked.request->state.load(std::memory_order_acquire);
      if (state != asked.number * 4 + Request::kDone) {
        ++i;
        continue;
      }
      // Relaxed: the handler is through with it.
      asked.request->state.store(Request::kFree, std::memory_order_relaxed);
      SetClear(asked.thread);
      asked_[i] = asked_.back();
      asked_.pop_back();
    }
  }

  // A request that nobody has taken yet is free again; the handler of one that
  // was taken frees nothing, so wait for it: it is at work. False: for too
  // long.
  static bool Withdraw(const Asked& asked) {
    uint32_t expected = asked.number * 4 + Request::kAsked;
    if (asked.request->state.compare_exchange_strong(
            expected, Request::kFree, std::memory_order_relaxed,
            std::memory_order_relaxed)) {
      return true;  // relaxed: nothing was done under it
    }
    // A1: as in Collect; the mappings go after this.
    for (Waiting waiting;
         asked.request->state.load(std::memory_order_acquire) !=
         asked.number * 4 + Request::kDone;
         waiting.Pause()) {
      if (waiting.Longer(thread_patience.runnable)) return false;
    }
    // Relaxed: the handler is through with it.
    asked.request->state.store(Request::kFree, std::memory_order_relaxed);
    return true;
  }

  const int signal_;
  std::vector<uint64_t> page_;
  std::unique_ptr<std::vector<Mapping>> mappings_;
  StackLimits limits_;
  std::vector<pid_t> threads_;
  std::vector<pid_t> clear_;  // ascending
  std::vector<Asked> asked_;
  pid_t last_ = 0;
  const char* hindrance_ = nullptr;  // of `last_`, if not for lack of a CPU
};

}  // namespace

absl::Status AwaitTrappable(bool inside_too, bool passing) {
  std::vector<pid_t> threads;
  std::vector<uint64_t> page(kPageSize / 8);
  for (Waiting waiting;; waiting.Pause()) {
    if (!OtherThreads(&threads)) {
      return absl::UnavailableError("cannot list the threads in /proc");
    }
    pid_t running = 0;
    pid_t inside = 0;
    for (const pid_t thread : threads) {
      if (!StatusOf(thread).Blocks(SIGTRAP)) continue;
      const ThreadState state = StateOf(thread);
      if (!passing || state.kind == ThreadState::kRunning) running = thread;
      if (inside_too && state.kind == ThreadState::kBlocked &&
          (CopyOf(state.pc) != 0 ||
           FindInterrupted(state.sp, Contexts::kFindMasked, {nullptr, 0},
                           page.data()))) {
        inside = thread;
      }
    }
    if (running == 0 && inside == 0) return absl::OkStatus();
    if (!waiting.Longer(thread_patience.stuck)) continue;
    return absl::UnavailableError(
        absl::StrCat("thread ", running != 0 ? running : inside,
                     running != 0 ? " runs" : " is inside the bytes to patch",
                     " with SIGTRAP blocked: a breakpoint would kill it"));
  }
}

absl::Status MoveThreadsOut() {
  const int signal = RequestSignal();
  if (signal == 0) {
    return absl::UnavailableError("the program uses every real-time signal");
  }
  Mover mover(signal);
  for (Waiting waiting; !mover.Pass(); waiting.Pause()) {
    if (waiting.Longer(mover.OnlyRunnable() ? thread_patience.runnable
                                            : thread_patience.stuck)) {
      return mover.Late();
    }
  }
  return absl::OkStatus();
}

}  // namespace retprobe
