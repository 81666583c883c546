// SPDX-License-Identifier: Apache-2.0
// The agent's parts that work without a program around them.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "agent/allocator.h"
#include "agent/environment.h"

namespace retprobe::agent {
namespace {

class Environment {
 public:
  explicit Environment(std::vector<std::string> entries)
      : entries_(std::move(entries)) {
    for (std::string& entry : entries_) pointers_.push_back(entry.data());
    pointers_.push_back(nullptr);
  }
  char** get() { return pointers_.data(); }
  std::vector<std::string> Now() const {
    std::vector<std::string> now;
    for (char* const* entry = pointers_.data(); *entry != nullptr; ++entry) {
      now.push_back(*entry);
    }
    return now;
  }

 private:
  std::vector<std::string> entries_;
  std::vector<char*> pointers_;
};

using Strings = std::vector<std::string>;

TEST_CASE("The environment is put back as the user had it") {
  Environment none(
      {"A=1", "LD_PRELOAD=/agent.so", "B=2", "RETPROBE_SESSION=/tmp/socket"});
  CHECK(std::string(FindVariable(none.get(), "RETPROBE_SESSION")) ==
        "/tmp/socket");
  CHECK(FindVariable(none.get(), "RETPROBE") == nullptr);
  RestoreEnvironment(none.get(), false);
  CHECK(none.Now() == Strings{"A=1", "B=2"});

  Environment empty({"LD_PRELOAD=/agent.so", "RETPROBE_SESSION=x"});
  RestoreEnvironment(empty.get(), true);
  CHECK(empty.Now() == Strings{"LD_PRELOAD="});

  Environment two({"RETPROBE_SESSION=x", "LD_PRELOAD=/agent.so:a.so:b.so"});
  RestoreEnvironment(two.get(), true);
  CHECK(two.Now() == Strings{"LD_PRELOAD=a.so:b.so"});
}

TEST_CASE("Blocks are aligned, apart from each other, and used again") {
  std::mt19937 random(3);
  struct Block {
    unsigned char* memory;
    size_t size;
    unsigned char fill;
  };
  std::vector<Block> blocks;
  for (int i = 0; i < 20000; ++i) {
    if (blocks.size() > 200 || (!blocks.empty() && random() % 3 == 0)) {
      const size_t victim = random() % blocks.size();
      const Block block = blocks[victim];
      REQUIRE(std::count(block.memory, block.memory + block.size, block.fill) ==
              static_cast<ptrdiff_t>(block.size));
      Release(block.memory);
      blocks[victim] = blocks.back();
      blocks.pop_back();
      continue;
    }
    const size_t size = random() % 10 == 0 ? random() % 300000 : random() % 500;
    const size_t alignment = size_t{1} << (random() % 13);
    auto* memory = static_cast<unsigned char*>(Allocate(size, alignment));
    REQUIRE(memory != nullptr);
    REQUIRE(reinterpret_cast<uintptr_t>(memory) % alignment == 0);
    REQUIRE(AllocatedSize(memory) >= size);
    const auto fill = static_cast<unsigned char>(random());
    memset(memory, fill, size);
    blocks.push_back({memory, size, fill});
  }
  for (const Block& block : blocks) Release(block.memory);
}

TEST_CASE("What another allocator gave is left alone") {
  alignas(16) char foreign[64] = {};
  CHECK(AllocatedSize(foreign + 32) == 0);
  Release(foreign + 32);
  Release(nullptr);
  CHECK(Allocate(SIZE_MAX / 2, 16) == nullptr);
}

TEST_CASE("Threads may allocate at once") {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      for (int i = 0; i < 20000; ++i) {
        auto* number = static_cast<int*>(Allocate(sizeof(int), 16));
        *number = t;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        if (*number != t) abort();
        Release(number);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace retprobe::agent
