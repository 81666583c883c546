// SPDX-License-Identifier: Apache-2.0
#include "retprobe/rethook.h"

#include <doctest/doctest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "hooking.h"

using retprobe::test::Storage;

TARGET long leaf(long x) {
  RETPROBE_TEST_ENTER();
  return x * 3 + 1;
}

TARGET double halved(double x) {
  RETPROBE_TEST_ENTER();
  return x / 2;
}

TARGET long double precise(long x) {
  RETPROBE_TEST_ENTER();
  return static_cast<long double>(x) / 3;
}

TARGET __int128 wide(long x) {
  RETPROBE_TEST_ENTER();
  return (static_cast<__int128>(x) << 64) + 7;
}

namespace retprobe {
namespace {

using test::Create;
using test::Listening;
using test::WithHandler;

TEST_CASE("a handler sees the activation that it is told of") {
  struct Seen {
    void* function;
    void* return_address;
    void* frame;
    void* data;
    long result;
    EndReason reason;
  } seen = {};
  auto options = WithHandler([&](ReturnContext& context) noexcept {
    seen = {context.function(),
            context.return_address(),
            context.frame(),
            context.data(),
            static_cast<long>(context.result()),
            context.reason()};
    CHECK(context.argument(0) == 0);
    CHECK(std::strcmp(static_cast<char*>(context.data()), "entered") == 0);
  });
  options.data_size = 100;
  for (const Storage storage : test::kStorages) {
    CAPTURE(test::NameOf(storage));
    options.storage = storage;
    auto copy = WithHandler([&](ReturnContext& context) noexcept {
      options.return_handler.invoke()(options.return_handler.user(), context);
    });
    copy.data_size = 100;
    copy.storage = storage;
    const auto rethook = Create(std::move(copy));
    Rethook::Instance* instance = rethook->TryGet();
    REQUIRE(instance != nullptr);
    std::strcpy(static_cast<char*>(Rethook::Data(instance)), "entered");
    CHECK(reinterpret_cast<uintptr_t>(Rethook::Data(instance)) % 16 == 0);
    CHECK(rethook->in_use() == 1);
    // A call whose return address we know, by the target's own frame.
    struct Call {
      __attribute__((noinline)) static long Hooked(Rethook& rethook,
                                                   Rethook::Instance* instance,
                                                   void**& slot, void*& was) {
        slot = static_cast<void**>(__builtin_frame_address(0)) + 1;
        was = *slot;
        rethook.Hook(instance, slot, reinterpret_cast<void*>(&leaf));
        CHECK(*slot != was);
        CHECK(Rethook::FindReturnAddress(*slot) == was);
        CHECK(Rethook::FindReturnAddress(was) == was);
        long result = 5;
        asm volatile("" : "+r"(result));
        return result;
      }
    };
    void** slot;
    void* was;
    CHECK(Call::Hooked(*rethook, instance, slot, was) == 5);
    CHECK(seen.function == reinterpret_cast<void*>(&leaf));
    CHECK(seen.return_address == was);
    CHECK(seen.frame == static_cast<void*>(slot + 1));
    CHECK(seen.result == 5);
    CHECK(seen.data != nullptr);
    CHECK(seen.reason == EndReason::kReturned);
    CHECK(rethook->in_use() == 0);
  }
}

TEST_CASE("results of all kinds come through, and can be changed") {
  std::atomic<bool> change{false};
  const auto rethook = Create(WithHandler([&](ReturnContext& context) noexcept {
    if (!change) return;
    context.set_result(context.result() + 100);
    context.set_result_high(context.result_high() + 1);
    context.set_float_result(context.float_result() * 2);
  }));
  const Listening listening(*rethook);
  CHECK(leaf(5) == 16);
  CHECK(halved(5) == 2.5);
  CHECK(precise(1) == 1.0L / 3);
  CHECK(wide(3) == (static_cast<__int128>(3) << 64) + 7);
  change = true;
  CHECK(leaf(5) == 116);
  CHECK(halved(5) == 5);
  CHECK(precise(1) == 1.0L / 3);
  CHECK(wide(3) == (static_cast<__int128>(4) << 64) + 107);
}

TEST_CASE("misses are counted by reason, and nothing is hooked then") {
  for (const Storage storage : test::kStorages) {
    CAPTURE(test::NameOf(storage));
    Rethook::Options options;
    std::atomic<Rethook*> self{nullptr};
    int inner = 0;
    options.return_handler = [&](ReturnContext&) noexcept {
      if (self.load()->TryGet() == nullptr) ++inner;
    };
    options.maxactive = 2;
    options.storage = storage;
    const auto rethook = Create(std::move(options));
    self = rethook.get();
    const Listening listening(*rethook);
    Rethook::Instance* a = rethook->TryGet();
    Rethook::Instance* b = rethook->TryGet();
    REQUIRE(a != nullptr);
    REQUIRE(b != nullptr);
    CHECK(a != b);
    CHECK(rethook->TryGet() == nullptr);
    CHECK(rethook->nmissed().empty == 1);
    CHECK(rethook->in_use() == 2);
    rethook->Recycle(b);
    CHECK(leaf(1) == 4);
    CHECK(inner == 1);
    CHECK(rethook->nmissed().recursion == 1);
    rethook->Recycle(a);
    CHECK(rethook->in_use() == 0);
    rethook->Stop();
    CHECK(rethook->TryGet() == nullptr);
    CHECK(rethook->nmissed().stopped == 1);
    CHECK(rethook->nmissed().total() == 3);
  }
}

TEST_CASE("options out of range are refused with what was expected") {
  CHECK(Rethook::Create({}).status().message() == "Rethook: no return_handler");
  const auto refused = [](auto change) {
    Rethook::Options options = WithHandler([](ReturnContext&) noexcept {});
    change(options);
    return std::string(Rethook::Create(std::move(options)).status().message());
  };
  CHECK(refused([](auto& o) { o.data_size = 4097; }) ==
        "Rethook: data_size is 4097; 0 .. 4096 bytes are possible");
  CHECK(refused([](auto& o) { o.maxactive = -1; }) ==
        "Rethook: maxactive is -1; 0 .. 2097152 are possible");
  CHECK(refused([](auto& o) {
          o.maxactive = 2000000;
          o.storage = Storage::kShadowStack;
        }) == "Rethook: maxactive is 2000000; 0 .. 1048576 are possible");
}

TEST_CASE("a thread has places for eight shadow stacks") {
  std::vector<std::unique_ptr<Rethook>> rethooks;
  const auto create = [] {
    auto options = WithHandler([](ReturnContext&) noexcept {});
    options.storage = Storage::kShadowStack;
    return Rethook::Create(std::move(options));
  };
  for (int i = 0; i < 8; ++i) {
    auto rethook = create();
    REQUIRE(rethook.ok());
    rethooks.push_back(*std::move(rethook));
  }
  CHECK(create().status().code() == absl::StatusCode::kResourceExhausted);
  rethooks.pop_back();
  CHECK(create().ok());
}

}  // namespace
}  // namespace retprobe
