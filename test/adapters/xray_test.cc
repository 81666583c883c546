// SPDX-License-Identifier: Apache-2.0
//
// LLVM XRay: sleds, which are patched to call its trampolines. The handler is
// told which function was entered, not where its return address is. As entry
// sleds come before everything else, that is above the address at which the
// sled goes on, and that one is searched: how much the trampoline has saved
// below differs between versions, and their unwind tables do not always say.
//
// The trampolines save what of vector registers are arguments, in SSE's width:
// the handler must not change more of them.
#include <doctest/doctest.h>

#include <atomic>
#include <vector>

#include "checks.h"
#include "hooking.h"

// From LLVM's xray/xray_interface.h, which other compilers do not find.
enum XRayEntryType : int { kXrayEntry = 0, kXrayExit = 1, kXrayTail = 2 };
enum { kXraySuccess = 1 };
extern "C" {
int __xray_set_handler(void (*entry)(int32_t, XRayEntryType));
int __xray_patch();
int __xray_unpatch();
size_t __xray_max_function_id();
uintptr_t __xray_function_address(int32_t id);
}

namespace {

using retprobe::Rethook;

constexpr uintptr_t kSledBytes = 11;

std::atomic<Rethook*> g_rethook{nullptr};
retprobe::test::Ends g_ends;
std::atomic<long> g_exits{0};

// Where entry sleds go on, by function. (XRay takes a lock to tell.)
const uintptr_t* g_behind_sled = nullptr;

void AtSled(int32_t id, XRayEntryType type) {
  Rethook* rethook = g_rethook.load(std::memory_order_acquire);
  if (rethook == nullptr) return;
  if (type != kXrayEntry) {
    g_exits.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  auto** word = static_cast<void**>(__builtin_frame_address(0));
  void** const end = word + 64;
  while (word != end && *word != reinterpret_cast<void*>(g_behind_sled[id])) {
    ++word;
  }
  if (word == end) return;
  Rethook::Instance* instance = rethook->TryGet();
  if (instance == nullptr) return;
  g_ends.entries.fetch_add(1, std::memory_order_relaxed);
  rethook->Hook(instance, word + 1, nullptr);
}

}  // namespace

namespace retprobe::test {
namespace {

TEST_CASE("what XRay instruments is seen to return, and to be unwound") {
  std::vector<uintptr_t> behind_sled(__xray_max_function_id() + 1);
  for (size_t id = 1; id < behind_sled.size(); ++id) {
    behind_sled[id] =
        __xray_function_address(static_cast<int32_t>(id)) + kSledBytes;
  }
  ::g_behind_sled = behind_sled.data();
  const auto rethook = Create(WithHandler(
      [](ReturnContext& context) noexcept { g_ends.Count(context); }));
  ::g_rethook = rethook.get();
  REQUIRE(__xray_set_handler(AtSled) != 0);
  REQUIRE(__xray_patch() == kXraySuccess);
  CheckEnds(kXrayTargets, g_ends);
  REQUIRE(__xray_unpatch() == kXraySuccess);
  ::g_rethook = nullptr;
  CHECK(rethook->in_use() == 0);
  CHECK(rethook->nmissed().total() == 0);
  // XRay itself hears nothing of what is unwound.
  CHECK(g_exits == g_ends.returned);
}

}  // namespace
}  // namespace retprobe::test
