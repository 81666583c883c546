// SPDX-License-Identifier: Apache-2.0
#include "hooked.h"

#include <atomic>
#include <memory>
#include <utility>

using retprobe::Rethook;
using retprobe::ReturnContext;

namespace {

std::unique_ptr<Rethook> g_rethook;
std::atomic<Rethook*> g_hooking{nullptr};

void (*volatile g_nobody)() = nullptr;

}  // namespace

absl::Status HookReturns(Rethook::Storage storage, bool vectors_alone,
                         int maxactive) {
  Rethook::Options options;
  options.return_handler = [](ReturnContext&) noexcept {
    void (*const nobody)() = g_nobody;
    if (nobody != nullptr) nobody();
  };
  options.storage = storage;
  options.maxactive = maxactive;
  options.handler_leaves_vectors_alone = vectors_alone;
  auto rethook = Rethook::Create(std::move(options));
  if (!rethook.ok()) return rethook.status();
  g_rethook = *std::move(rethook);
  g_hooking.store(g_rethook.get(), std::memory_order_release);
  return absl::OkStatus();
}

void UnhookReturns() {
  g_hooking.store(nullptr, std::memory_order_release);
  g_rethook.reset();
}

Rethook* HookingRethook() { return g_hooking.load(std::memory_order_acquire); }

// What the entries call with the place of the return address.
extern "C" {

void bench_hook(void** return_address) {
  Rethook* rethook = HookingRethook();
  if (rethook == nullptr) return;
  Rethook::Instance* instance = rethook->TryGet();
  if (instance != nullptr) rethook->Hook(instance, return_address);
}

// Returns the slot to go on through; null: go on as usual.
void* bench_hook_call(void** return_address) {
  Rethook* rethook = HookingRethook();
  Rethook::Instance* instance =
      rethook == nullptr ? nullptr : rethook->TryGet();
  return instance == nullptr ? nullptr
                             : rethook->HookCall(instance, return_address);
}
}
