// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_CHILD_POOL_H_
#define RETPROBE_TEST_CHILD_POOL_H_

#include <sys/wait.h>
#include <unistd.h>

#include <cstddef>

#include "object_ledger.h"
#include "retprobe/objpool.h"

namespace retprobe::test {

// Forks a child that counts its idle objects twice, and again when it has taken
// back what threads have that it is without. 0 when the first two are the same
// and at least `least`, the last is `all`, and no object had an owner; else as
// waitpid says. Other threads may be using the pool meanwhile.
inline int StatusOfChildThatCounts(ObjPool& pool, ObjectLedger<ObjPool>& ledger,
                                   size_t least, size_t all) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    const size_t idle = ledger.CountIdle();
    const size_t again = ledger.CountIdle();
    ledger.Forget();
    pool.Reclaim([](void*) { return false; });
    _exit(idle < least                ? 1
          : idle != again             ? 2
          : ledger.CountIdle() != all ? 3
          : ledger.failed()           ? 4
                                      : 0);
  }
  int status = -1;
  if (child > 0) waitpid(child, &status, 0);
  return status;
}

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_CHILD_POOL_H_
