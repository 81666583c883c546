// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_HOOKING_H_
#define RETPROBE_TEST_HOOKING_H_

#include <doctest/doctest.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "in_threads.h"
#include "retprobe/rethook.h"
#include "target.h"

// A framework of a few lines: functions that begin with RETPROBE_TEST_ENTER()
// have their returns hooked by whatever Hooking there is.
namespace retprobe::test {

using Storage = Rethook::Storage;

inline std::string NameOf(Storage storage) {
  switch (storage) {
    case Storage::kPool:
      return "pool";
    case Storage::kShadowStack:
      return "shadow stack";
    case Storage::kMalloc:
      return "malloc";
  }
  return "?";
}

inline constexpr Storage kStorages[] = {Storage::kPool, Storage::kShadowStack,
                                        Storage::kMalloc};

inline std::atomic<Rethook*> g_rethook{nullptr};
inline std::atomic<long> g_entries{0};

// At the entry of a function whose return address is at `slot`.
inline void Enter(void** slot, void* function = nullptr) {
  Rethook* rethook = g_rethook.load(std::memory_order_acquire);
  if (rethook == nullptr) return;
  Rethook::Instance* instance = rethook->TryGet();
  if (instance == nullptr) return;
  g_entries.fetch_add(1, std::memory_order_relaxed);
  rethook->Hook(instance, slot, function);
}

// In functions with a frame pointer, which this makes them have.
#define RETPROBE_TEST_ENTER() \
  ::retprobe::test::Enter(static_cast<void**>(__builtin_frame_address(0)) + 1)

inline Rethook::Options WithHandler(ReturnHandler handler) {
  Rethook::Options options;
  options.return_handler = std::move(handler);
  return options;
}

inline std::unique_ptr<Rethook> Create(Rethook::Options options) {
  auto rethook = Rethook::Create(std::move(options));
  REQUIRE_MESSAGE(rethook.ok(), rethook.status().ToString());
  return *std::move(rethook);
}

// Makes `rethook` the one that targets ask, while it lives.
struct Listening {
  explicit Listening(Rethook& rethook) { g_rethook = &rethook; }
  ~Listening() { g_rethook = nullptr; }
};

// Counts how activations end.
class Hooking {
 public:
  explicit Hooking(Rethook::Options options) {
    g_entries = 0;
    options.return_handler = [this](ReturnContext& context) noexcept {
      ends_[static_cast<int>(context.reason())].fetch_add(
          1, std::memory_order_relaxed);
    };
    auto rethook = Rethook::Create(std::move(options));
    REQUIRE_MESSAGE(rethook.ok(), rethook.status().ToString());
    rethook_ = *std::move(rethook);
    g_rethook.store(rethook_.get(), std::memory_order_release);
  }
  explicit Hooking(Storage storage, int maxactive = 0)
      : Hooking(Rethook::Options{.maxactive = maxactive, .storage = storage}) {}
  ~Hooking() {
    // Every activation ended exactly once, and its instance is back.
    CHECK(entries() == returned() + unwound() + abandoned());
    CHECK(rethook_->in_use() == 0);
    g_rethook.store(nullptr, std::memory_order_release);
  }

  Rethook& rethook() { return *rethook_; }
  long entries() const { return g_entries; }
  long returned() const { return ends_[0]; }
  long unwound() const { return ends_[1]; }
  long abandoned() const { return ends_[2]; }

 private:
  std::atomic<long> ends_[3] = {};
  std::unique_ptr<Rethook> rethook_;
};

// Runs `work(storage, threads)` for each storage and 1, 2 and 8 threads.
template <typename Work>
void ForStoragesAndCounts(const Work& work) {
  for (const Storage storage : kStorages) {
    for (const int count : {1, 2, 8}) {
      CAPTURE(NameOf(storage));
      CAPTURE(count);
      work(storage, count);
    }
  }
}

// Runs `body(hooking)` in 1, 2 and 8 threads, with each storage.
template <typename Body>
void ForStoragesAndThreads(const Body& body) {
  ForStoragesAndCounts([&](Storage storage, int count) {
    Hooking hooking(storage);
    InNewThreads(count, [&] { body(hooking); });
  });
}

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_HOOKING_H_
