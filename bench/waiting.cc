// SPDX-License-Identifier: Apache-2.0
#include "waiting.h"

#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "hooked.h"
#include "private_bytes.h"

using retprobe::Rethook;

namespace {

// Everybody's ways in and out: each round all threads go in and wait.
pthread_barrier_t g_inside;
pthread_barrier_t g_outside;
int g_depth;

extern "C" void bench_hook(void** return_address);

__attribute__((noinline, noclone)) long GoIn(long depth) {
  bench_hook(static_cast<void**>(__builtin_frame_address(0)) + 1);
  if (depth == 1) {
    pthread_barrier_wait(&g_inside);
    pthread_barrier_wait(&g_outside);
    return 1;
  }
  long below = GoIn(depth - 1);
  asm volatile("" : "+r"(below));
  return below + 1;
}

constexpr int kRounds = 2;  // unhooked, hooked

void* Run(void*) {
  for (int round = 0; round < kRounds; ++round) {
    if (GoIn(g_depth) != g_depth) std::abort();
    pthread_barrier_wait(&g_inside);
    pthread_barrier_wait(&g_outside);
  }
  return nullptr;
}

bool Start(int count, std::vector<pthread_t>& threads) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 128 * 1024);
  threads.resize(count);
  for (pthread_t& thread : threads) {
    if (pthread_create(&thread, &attributes, Run, nullptr) != 0) return false;
  }
  pthread_attr_destroy(&attributes);
  return true;
}

}  // namespace

WaitingResult WaitInChild(const WaitingCase& waiting) {
  WaitingResult result;
  const std::string command =
      absl::StrCat("/proc/", getpid(), "/exe ", kWaitingArgument, " ",
                   static_cast<int>(waiting.storage), " ", waiting.threads, " ",
                   waiting.depth, " ", waiting.maxactive, " 2>&1");
  FILE* child = popen(command.c_str(), "re");
  char line[512] = "";
  if (child == nullptr || std::fgets(line, sizeof(line), child) == nullptr ||
      std::sscanf(line, "%lf %lf %lf %lf", &result.fixed_bytes,
                  &result.waiting_bytes, &result.hooked, &result.missed) != 4) {
    result.error = absl::StrCat("waiting in a child failed: ", line);
  }
  if (child != nullptr && pclose(child) != 0 && result.error.empty()) {
    result.error = "the child whose threads waited failed";
  }
  return result;
}

int Wait(char** arguments) {
  const auto storage = static_cast<Rethook::Storage>(std::atoi(arguments[0]));
  const int count = std::atoi(arguments[1]);
  g_depth = std::atoi(arguments[2]);
  const int maxactive = std::atoi(arguments[3]);
  pthread_barrier_init(&g_inside, nullptr, count + 1);
  pthread_barrier_init(&g_outside, nullptr, count + 1);
  std::vector<pthread_t> threads;
  if (!Start(count, threads)) return std::puts("pthread_create failed"), 1;
  const auto let_out = [] { pthread_barrier_wait(&g_outside); };

  pthread_barrier_wait(&g_inside);  // all inside, unhooked: stacks are touched
  let_out();
  pthread_barrier_wait(&g_inside);  // all outside
  const long before = PrivateBytes();
  if (absl::Status status = HookReturns(storage, true, maxactive);
      !status.ok()) {
    return std::puts(status.ToString().c_str()), 1;
  }
  const long fixed = PrivateBytes();
  let_out();
  pthread_barrier_wait(&g_inside);  // all inside, hooked
  const long inside = PrivateBytes();
  const auto hooked = static_cast<double>(HookingRethook()->in_use());
  const auto missed = static_cast<double>(HookingRethook()->nmissed().total());
  let_out();
  pthread_barrier_wait(&g_inside);
  const bool all_back = HookingRethook()->in_use() == 0;
  let_out();
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  UnhookReturns();
  if (!all_back) return std::puts("instances are out"), 1;
  std::printf("%ld %ld %.0f %.0f\n", fixed - before, inside - fixed, hooked,
              missed);
  return 0;
}
