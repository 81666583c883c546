// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_LAUNCH_H_
#define RETPROBE_CLI_LAUNCH_H_

#include <signal.h>

#include <string>

#include "absl/status/statusor.h"
#include "cli/program.h"
#include "cli/unique_fd.h"

namespace retprobe::cli {

// How to make the program find the agent, and the agent us.
struct Preload {
  std::string agent;
  std::string socket_path;
};

// The running program, and signals on their way to it.
class Child {
 public:
  // Starts the program with this process's environment, signal mask and
  // dispositions. From here on signals are held for Forward.
  //
  // Errors: kNotFound, kPermissionDenied: it cannot be executed.
  static absl::StatusOr<Child> Start(const Program& program,
                                     const Preload& preload);

  int pid() const { return pid_; }
  // Readable for Forward, and when the program has ended.
  int signal_fd() const { return signals_.get(); }
  bool Ended() const;

  // Passes on what was sent to us. What the terminal sends, it sends to the
  // program as well.
  void Forward();

  // Waits for the end; the wait status.
  int Wait();

 private:
  int pid_ = -1;
  UniqueFd signals_;
};

// Whether the user has an LD_PRELOAD of his own.
bool PreloadIsSet();

// Ends this process as the program ended: by the same status or signal.
[[noreturn]] void ExitLike(int wait_status);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_LAUNCH_H_
