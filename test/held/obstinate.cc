// SPDX-License-Identifier: Apache-2.0
//
// Threads that block signals, may make no system calls, or are deep in one,
// while probes come and go.
#include <doctest/doctest.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "patch/entries.h"
#include "patch/live_patch.h"
#include "patch/thread_mover.h"
#include "patch/threads.h"
#include "retprobe/return_probe.h"

namespace retprobe {
namespace {

using Clock = std::chrono::steady_clock;

// A thread that prepares itself, then calls entry_nop3 and entry_push until
// told to stop; entry_push only while it may.
class Obstinate {
 public:
  enum How {
    kBlocksAll,
    kBlocksAllButTraps,
    kMakesNoCalls,  // seccomp's strict mode
    kSleeps,        // everything blocked, in read()
    kWaitsForChild  // uninterruptibly
  };
  explicit Obstinate(How how) : how_(how) {
    REQUIRE(pipe(pipe_) == 0);
    pthread_create(&thread_, nullptr, &Run, this);
    while (!ready_) sched_yield();
    // Until it is in the call.
    if (how == kSleeps || how == kWaitsForChild) usleep(50'000);
  }
  ~Obstinate() {
    stop_ = true;
    CHECK(write(pipe_[1], "x", 1) == 1);
    pthread_join(thread_, nullptr);
    close(pipe_[0]);
    close(pipe_[1]);
    CHECK(!wrong_);
  }
  Obstinate(const Obstinate&) = delete;
  Obstinate& operator=(const Obstinate&) = delete;

  // Whether it still calls: a whole round that begins now, behind the one that
  // may be under way.
  bool Lives() const {
    const long until = calls_ + 2;
    const auto end = Clock::now() + std::chrono::seconds(30);
    while (calls_ < until && Clock::now() < end) sched_yield();
    return calls_ >= until;
  }

 private:
  static void* Run(void* self) {
    static_cast<Obstinate*>(self)->Run();
    syscall(SYS_exit, 0);  // all that strict mode allows
    return nullptr;
  }

  void Run() {
    sigset_t blocked;
    sigfillset(&blocked);
    if (how_ == kBlocksAllButTraps) sigdelset(&blocked, SIGTRAP);
    if (how_ != kMakesNoCalls) pthread_sigmask(SIG_SETMASK, &blocked, nullptr);
    ready_ = true;
    char byte;
    switch (how_) {
      case kSleeps:
        while (read(pipe_[0], &byte, 1) != 1) {
        }
        return;
      case kWaitsForChild: {
        alignas(16) static char stack[16 * 1024];
        const pid_t child = clone(&Sleep, stack + sizeof(stack),
                                  CLONE_VFORK | SIGCHLD, nullptr);
        waitpid(child, nullptr, 0);
        return;
      }
      case kMakesNoCalls:
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return;
        break;
      default:
        break;
    }
    while (!stop_) {
      wrong_ =
          wrong_ || entry_loop(40, 2) != 99 || entry_mixed_nops(40, 2) != 63;
      ++calls_;
    }
  }

  static int Sleep(void*) {
    usleep(500'000);
    return 0;
  }

  const How how_;
  pthread_t thread_;
  int pipe_[2];
  std::atomic<bool> ready_{false};
  std::atomic<bool> stop_{false};
  std::atomic<bool> wrong_{false};
  std::atomic<long> calls_{0};
};

std::atomic<long> returns;

// Functions whose jumps are made with int3 inside, and without: a stub serves
// for ever. No other test here probes them.
std::vector<absl::StatusOr<ReturnProbe>> AttachSome(bool punning) {
  using Functions = std::vector<long (*)(long, long)>;
  std::vector<ReturnProbe::Request> requests;
  for (auto* function :
       punning
           ? Functions{entry_loop, entry_patchable, entry_load_rip}
           : Functions{entry_mixed_nops, entry_jrcxz, entry_near_condition}) {
    ReturnProbeOptions options;
    options.return_handler = [](ReturnContext&) noexcept { ++returns; };
    requests.push_back({reinterpret_cast<void*>(function), std::move(options)});
  }
  return ReturnProbe::AttachAll(absl::MakeSpan(requests));
}

struct Attempt {
  size_t refused = 0;
  std::string message;
  double seconds = 0;
};

Attempt AttachBeside(Obstinate::How how, bool punning) {
  Attempt attempt;
  live_patch_faults.no_punning = !punning;
  thread_patience.stuck = std::chrono::milliseconds(200);
  {
    Obstinate thread(how);
    const auto begin = Clock::now();
    const auto probes = AttachSome(punning);
    attempt.seconds =
        std::chrono::duration<double>(Clock::now() - begin).count();
    for (const auto& probe : probes) {
      if (probe.ok()) continue;
      ++attempt.refused;
      attempt.message = probe.status().ToString();
    }
    const bool calls =
        how != Obstinate::kSleeps && how != Obstinate::kWaitsForChild;
    if (calls) {
      const long before = returns;
      CHECK(thread.Lives());
      CHECK((returns != before) == probes[0].ok());
    }
  }
  thread_patience = {};
  live_patch_faults.no_punning = false;
  return attempt;
}

TEST_CASE(
    "beside a thread that an int3 would kill probes are refused in time") {
  const Attempt attempt = AttachBeside(Obstinate::kBlocksAll, true);
  CHECK(attempt.refused == 3);
  CHECK_MESSAGE(attempt.message.find("SIGTRAP blocked") != std::string::npos,
                attempt.message);
  CHECK(attempt.message.find("UNAVAILABLE") == 0);
  CHECK(attempt.seconds < 30);
}

TEST_CASE("threads that take traps and no other signal are probed") {
  CHECK(AttachBeside(Obstinate::kBlocksAllButTraps, true).refused == 0);
}

TEST_CASE("a thread in seccomp's strict mode is probed and lives") {
  const Attempt attempt = AttachBeside(Obstinate::kMakesNoCalls, true);
  CHECK_MESSAGE(attempt.refused == 0, attempt.message);
}

TEST_CASE("where threads must be moved, one that cannot be asked is named") {
  for (const auto how :
       {Obstinate::kBlocksAllButTraps, Obstinate::kMakesNoCalls}) {
    const Attempt attempt = AttachBeside(how, false);
    CHECK(attempt.refused > 0);
    CHECK_MESSAGE(
        attempt.message.find(how == Obstinate::kMakesNoCalls
                                 ? "kept by seccomp"
                                 : "blocks the signal") != std::string::npos,
        attempt.message);
    CHECK(attempt.seconds < 30);
  }
}

TEST_CASE("threads deep in a system call are in nobody's way") {
  for (const bool punning : {true, false}) {
    for (const auto how : {Obstinate::kSleeps, Obstinate::kWaitsForChild}) {
      const Attempt attempt = AttachBeside(how, punning);
      CHECK_MESSAGE(attempt.refused == 0, attempt.message);
    }
  }
}

}  // namespace
}  // namespace retprobe
