// SPDX-License-Identifier: Apache-2.0
// A program whose calls are known. usage: trace_sample MODE [ARGUMENT...]
#include <dlfcn.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

// Calls stay calls, of this very function.
#ifdef __clang__
#define SAMPLE_OPAQUE noinline
#else
#define SAMPLE_OPAQUE noipa
#endif

#define SAMPLE extern "C" __attribute__((SAMPLE_OPAQUE))

SAMPLE long sample_add(long a, long b) {
  asm volatile("" : "+r"(a));
  return a + b;
}

SAMPLE void sample_sleep(long milliseconds) {
  const timespec pause = {0, milliseconds * 1000000};
  nanosleep(&pause, nullptr);
}

SAMPLE void sample_throw(int depth) {
  if (depth == 0) throw std::runtime_error("thrown");
  sample_throw(depth - 1);
  asm volatile("");  // not a tail call
}

jmp_buf home;

SAMPLE void leave_by_jump(int depth) {
  if (depth < 0) return;
  if (depth == 0) longjmp(home, 1);
  leave_by_jump(depth - 1);
  asm volatile("");  // not a tail call
}

namespace {

int Jumps() {
  static int i;  // no automatic variable survives setjmp's second return
  for (i = 0; i < 5; ++i) {
    if (setjmp(home) == 0) leave_by_jump(2);
  }
  return 0;
}

int Calls() {
  long sum = 0;
  for (long i = 0; i < 10; ++i) sum += sample_add(i, 0x100 + i);
  sample_sleep(20);
  for (int i = 0; i < 5; ++i) {
    try {
      sample_throw(2);
    } catch (const std::runtime_error&) {
      ++sum;
    }
  }
  printf("%ld\n", sum);
  return 0;
}

// For at least as long, in processor time, as it is told.
int Work(long milliseconds) {
  const clock_t end = clock() + milliseconds * (CLOCKS_PER_SEC / 1000);
  long sum = 0;
  while (clock() < end) {
    for (int i = 0; i < 10000; ++i) sum = sample_add(sum, i);
  }
  return sum == 0;
}

int Threads() {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 50000; ++i) sample_add(i, i);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}

int Fork(bool threads) {
  for (int i = 0; i < 2; ++i) sample_add(i, i);
  std::thread other;
  if (threads) other = std::thread([] { sample_sleep(1); });
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 4; ++i) sample_add(i, i);
    _exit(3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (other.joinable()) other.join();
  return WEXITSTATUS(status);
}

int Plugin(const char* path, int rounds) {
  long sum = 0;
  for (int round = 0; round < rounds; ++round) {
    void* library = dlopen(path, RTLD_NOW);
    if (library == nullptr) {
      fprintf(stderr, "%s\n", dlerror());
      return 1;
    }
    auto work = reinterpret_cast<long (*)(long)>(dlsym(library, "plugin_work"));
    for (int i = 0; i < 7; ++i) sum += work(i);
    dlclose(library);
  }
  printf("%ld\n", sum);
  return 0;
}

int Environment() {
  for (char** entry = environ; *entry != nullptr; ++entry) puts(*entry);
  return 0;
}

int EndBySignal(int number) {
  sample_add(1, 2);
  raise(number);
  return 99;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const char* argument = argc > 2 ? argv[2] : "0";
  if (mode == "calls") return Calls();
  if (mode == "jumps") return Jumps();
  if (mode == "work") return Work(atol(argument));
  if (mode == "threads") return Threads();
  if (mode == "fork") return Fork(false);
  if (mode == "fork-threads") return Fork(true);
  if (mode == "plugin") return Plugin(argument, argc > 3 ? atoi(argv[3]) : 1);
  if (mode == "environment") return Environment();
  if (mode == "signal") return EndBySignal(atoi(argument));
  if (mode == "wait") {
    sample_add(1, 2);
    puts("waiting");
    fflush(stdout);
    pause();
  }
  if (mode == "exit") {
    sample_add(1, 2);
    _exit(atoi(argument));
  }
  if (mode == "execute") {
    sample_add(1, 2);
    execl(argv[0], argv[0], "calls", nullptr);
  }
  return 98;
}
