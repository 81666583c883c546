// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_HELD_TRACEE_H_
#define RETPROBE_TEST_HELD_TRACEE_H_

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <vector>

#include "patch/entry_patch.h"

namespace retprobe::test {

using Entry = long (*)(long, long);

// A child process with a thread that calls a function when told to, and that
// can be held at any instruction meanwhile (by ptrace), and a main thread that
// attaches and detaches a probe to that function.
class Tracee {
 public:
  // Without `punning` threads must be moved out of the bytes to patch.
  Tracee(Entry function, bool punning);
  ~Tracee();
  Tracee(const Tracee&) = delete;
  Tracee& operator=(const Tracee&) = delete;

  // Empty, or why threads cannot be held here.
  const char* unavailable() const { return unavailable_; }

  enum Command : int { kNone, kAttach, kDetach, kDisable, kEnable, kExit };
  // Has it done by the main thread. False: it failed, see message(); also when
  // it took more than a minute, and then the child is killed.
  bool Do(Command command) { return Ask(command) && Await(); }
  bool Ask(Command command);  // does not wait; Await() does
  bool Await();
  bool DoneWithin(std::chrono::milliseconds time) const;
  const char* message() const { return shared_->message; }
  double seconds() const { return shared_->seconds; }  // that it took

  // The thread's call goes on until it is about to execute `pc`: by single
  // steps, or, with `breakpoint`, on its own. False: it never does.
  bool HoldAt(uintptr_t pc, bool breakpoint);
  // Those of `places`, where instructions begin, that a call passes, in order.
  std::vector<uintptr_t> PlacesOnTheWay(const std::vector<uintptr_t>& places);
  // Lets it go, by way of a signal handler that waits until Leave() is called.
  void ParkInHandler();
  void Leave() { shared_->leave = true; }
  // Lets it go to the end of the call; its result, or -1: it never comes back.
  long Finish();

  // The patch of the function, once a probe has been attached.
  const EntryPatch& patch() const { return shared_->patch; }
  long entries() const { return shared_->entries; }
  long returns() const { return shared_->returns; }
  size_t in_use() const { return shared_->in_use; }

 private:
  struct Shared {
    std::atomic<pid_t> thread;
    std::atomic<int> command;
    std::atomic<int> asked;
    std::atomic<int> done;
    std::atomic<int> calls_wanted;
    std::atomic<int> calls_made;
    std::atomic<bool> in_handler;
    std::atomic<bool> leave;
    std::atomic<long> result;
    std::atomic<long> entries;
    std::atomic<long> returns;
    bool ok;
    double seconds;
    size_t in_use;
    char message[256];
    EntryPatch patch;
  };
  static Shared* shared_;

  [[noreturn]] static void Run(Entry function, bool punning);
  static void Perform(int command, void* function);
  bool Stopped(int* status) const;
  bool Go(int signal, bool step, uintptr_t until);
  long SetBreakpoint(uintptr_t pc) const;  // returns what was there
  void HoldInLoop() const;                 // after a call has ended

  pid_t child_ = 0;
  pid_t thread_ = 0;
  bool held_ = false;
  const char* unavailable_ = "";
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_HELD_TRACEE_H_
