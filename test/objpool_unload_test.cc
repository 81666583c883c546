// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "base/cpu.h"

// A thread's rseq area points at the last restartable sequence it ran, which
// the kernel reads when it next looks, perhaps long after. Code with sequences
// must therefore stay mapped; -z nodelete, which comes with the library's
// pkg-config file, sees to it.

namespace retprobe::test {
namespace {

// How a process ends in which a library makes a pool, two threads use it there
// and `library` is unloaded while one of them still sleeps.
int StatusAfterUnloading(const char* library) {
  const pid_t child = fork();
  if (child != 0) {
    int status = -1;
    waitpid(child, &status, 0);
    return status;
  }
  signal(SIGSEGV, SIG_DFL);  // doctest's
  for (int round = 0; round < 5; ++round) {
    void* handle = dlopen(library, RTLD_NOW);
    if (handle == nullptr) _exit(2);
    const auto begin =
        reinterpret_cast<void* (*)()>(dlsym(handle, "pool_plugin_begin"));
    const auto use =
        reinterpret_cast<void (*)(void*)>(dlsym(handle, "pool_plugin_use"));
    const auto end =
        reinterpret_cast<void (*)(void*)>(dlsym(handle, "pool_plugin_end"));
    void* pool = begin();
    if (pool == nullptr) _exit(3);
    std::atomic<bool> used{false};
    std::atomic<bool> unloaded{false};
    std::thread sleeper([&] {
      use(pool);
      used = true;
      used.notify_one();
      unloaded.wait(false);
    });
    used.wait(false);
    use(pool);
    end(pool);
    dlclose(handle);
    unloaded = true;
    unloaded.notify_one();
    sleeper.join();
    usleep(1000);
  }
  _exit(0);
}

TEST_CASE("a library that makes a pool can be closed") {
  CHECK(StatusAfterUnloading(RETPROBE_POOL_PLUGIN) == 0);
}

TEST_CASE("one that is unmapped takes its threads down") {
  if (!RseqAvailable()) {
    MESSAGE("skipped: no rseq here");
    return;
  }
  const int status = StatusAfterUnloading(RETPROBE_POOL_PLUGIN_UNMAPPED);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGSEGV);
}

}  // namespace
}  // namespace retprobe::test
