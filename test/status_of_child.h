// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_STATUS_OF_CHILD_H_
#define RETPROBE_TEST_STATUS_OF_CHILD_H_

#include <sys/wait.h>
#include <unistd.h>

namespace retprobe {

// The wait status of a forked child that does `work` and ends with 0 if that
// returns true, else with 1.
template <typename Work>
int StatusOfChild(Work work) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    _exit(work() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status;
}

}  // namespace retprobe

#endif  // RETPROBE_TEST_STATUS_OF_CHILD_H_
