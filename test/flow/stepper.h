// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_FLOW_STEPPER_H_
#define RETPROBE_TEST_FLOW_STEPPER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"

namespace retprobe::test {

// Calls a probed function one instruction at a time (the processor's trap
// flag), and at each instruction of the trampoline, of a stub and of the
// function itself walks the stack with every unwinder, as a signal that came
// there would.
//
// A restartable sequence is begun twice: the first time the trap inside aborts
// it, which is what any signal does, and shows where the kernel lets it begin
// again; the second time the instruction that registers it is skipped, and its
// instructions are ordinary ones. Requires: nobody else uses the pool's
// magazines meanwhile.
class Stepper {
 public:
  // Steps through `call`, which calls `function` from the frame of its caller:
  // any walk that comes through there must show the frames that `call` itself
  // has. Threads take turns.
  // `depth`: activations on top of each other.
  void Step(const void* function, absl::FunctionRef<void()> call,
            int depth = 1);

  // To be called in a handler, twice: what it does in between is not stepped
  // through.
  static void Pause();

  // Walks that did not lead to the caller, one line each: unwinder, place.
  const std::vector<std::string>& wrong() const { return wrong_; }
  // Walks that did.
  long right() const { return right_; }

  // Instructions of the trampoline that no Step() of this process came to.
  static std::vector<std::string> NotVisited();

 private:
  friend struct StepperAccess;
  std::vector<std::string> wrong_;
  long right_ = 0;
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_FLOW_STEPPER_H_
