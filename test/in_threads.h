// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_IN_THREADS_H_
#define RETPROBE_TEST_IN_THREADS_H_

#include <thread>
#include <type_traits>
#include <vector>

namespace retprobe {

// What a thread runs that has a number, or need not know it.
template <typename Work>
void RunNumbered(const Work& work, int number) {
  if constexpr (std::is_invocable_v<Work, int>) {
    work(number);
  } else {
    work();
  }
}

// Runs `work(i)`, or `work()`, in `count` threads of its own, i from 0.
template <typename Work>
void InNewThreads(int count, const Work& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([&work, i] { RunNumbered(work, i); });
  }
  for (std::thread& thread : threads) thread.join();
}

// The same; number 0 is the calling thread.
template <typename Work>
void InThreads(int count, const Work& work) {
  std::vector<std::thread> threads;
  for (int i = 1; i < count; ++i) {
    threads.emplace_back([&work, i] { RunNumbered(work, i); });
  }
  RunNumbered(work, 0);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace retprobe

#endif  // RETPROBE_TEST_IN_THREADS_H_
