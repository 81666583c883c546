// SPDX-License-Identifier: Apache-2.0
#include "retprobe/return_probe.h"

#include <doctest/doctest.h>
#include <pthread.h>

#include <cstdlib>
#include <string>
#include <thread>
#include <utility>

#include "ends.h"

TARGET long plain_add(long a, long b) {
  asm volatile("");
  return a + b;
}

extern "C"
    __attribute__((noinline, noclone, patchable_function_entry(16, 0))) long
    patchable_add(long a, long b) {
  asm volatile("");
  return a + b;
}

TARGET long nested(long depth) {
  if (depth == 0) return 0;
  long below = nested(depth - 1);
  asm volatile("" : "+r"(below));  // no loop in its place
  return below + 1;
}

namespace retprobe {
namespace {

TEST_CASE("a probe without handlers leaves the function as it was") {
  for (auto* add : {&plain_add, &patchable_add}) {
    const ReturnProbe probe = Attached(add, {});
    CHECK(add(2, 3) == 5);
    CHECK(add(-2, 3) == 1);
    CHECK(Out() == 0);
    CHECK(probe.nmissed().total() == 0);
  }
  CHECK(plain_add(2, 3) == 5);
}

TEST_CASE("a declined activation has no return") {
  Ends ends;
  ReturnProbeOptions options = ends.Options();
  options.entry_handler = [](EntryContext& context) noexcept {
    return context.argument(0) == 1;
  };
  const ReturnProbe probe = Attached(&plain_add, std::move(options));
  CHECK(plain_add(1, 1) == 2);
  CHECK(plain_add(2, 1) == 3);
  CHECK(ends.returned == 1);
  CHECK(Out() == 0);
}

TEST_CASE("several probes on one function each have their data and their end") {
  std::string order;
  const auto options = [&](char name) {
    ReturnProbeOptions result;
    result.data_size = 40;
    result.entry_handler = [&order, name](EntryContext& context) noexcept {
      *static_cast<char*>(context.data()) = name;
      order += name;
      return true;
    };
    result.return_handler = [&order](ReturnContext& context) noexcept {
      order += *static_cast<char*>(context.data());
    };
    return result;
  };
  ReturnProbe a = Attached(&plain_add, options('a'));
  ReturnProbe b = Attached(&plain_add, options('b'));
  const ReturnProbe c = Attached(&plain_add, options('c'));
  plain_add(1, 2);
  CHECK(order == "abccba");
  order.clear();
  b.Disable();
  plain_add(1, 2);
  CHECK(order == "acca");
  order.clear();
  b.Enable();
  a.Detach();
  plain_add(1, 2);
  CHECK(order == "bccb");
}

TEST_CASE("a handler that calls probed functions is not probed itself") {
  Ends ends;
  const ReturnProbe inner = Attached(&patchable_add, ends.Options());
  ReturnProbeOptions options;
  options.return_handler = [](ReturnContext& context) noexcept {
    context.set_result(patchable_add(context.result(), 10));
  };
  const ReturnProbe outer = Attached(&plain_add, std::move(options));
  CHECK(plain_add(1, 2) == 13);
  CHECK(ends.returned == 0);
  CHECK(inner.nmissed().recursion == 1);
  CHECK(patchable_add(1, 2) == 3);
  CHECK(ends.returned == 1);
}

TEST_CASE("maxactive bounds the activations and counts the rest") {
  Ends ends;
  ReturnProbeOptions options = ends.Options();
  options.maxactive = 3;
  const ReturnProbe probe = Attached(&nested, std::move(options));
  CHECK(nested(9) == 9);
  CHECK(ends.entered == 3);
  CHECK(ends.returned == 3);
  CHECK(probe.nmissed().empty == 7);
  CHECK(nested(1) == 1);
  CHECK(ends.returned == 5);
}

TEST_CASE("recursion 100,000 deep misses nothing") {
  Ends ends;
  const ReturnProbe probe = Attached(&nested, ends.Options());
  std::thread([] {
    // A stack of its own: frames are larger than the recursion's alone.
    CHECK(nested(10000) == 10000);
  }).join();
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, size_t{256} << 20);
  pthread_t thread;
  pthread_create(
      &thread, &attributes,
      [](void*) -> void* { return reinterpret_cast<void*>(nested(100000)); },
      nullptr);
  void* result = nullptr;
  pthread_join(thread, &result);
  CHECK(reinterpret_cast<long>(result) == 100000);
  CHECK(ends.returned == 100001 + 10001);
  CHECK(probe.nmissed().total() == 0);
  CHECK(Out() == 0);
}

TEST_CASE("bad options are refused by name") {
  ReturnProbeOptions options;
  options.data_size = size_t{1} << 30;
  auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&plain_add),
                                   std::move(options));
  CHECK(probe.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(probe.status().message().find("data_size") != std::string::npos);
  options = {};
  options.saved_arguments = 7;
  CHECK(!ReturnProbe::Attach(reinterpret_cast<void*>(&plain_add),
                             std::move(options))
             .ok());
  options = {};
  options.maxactive = -1;
  CHECK(!ReturnProbe::Attach(reinterpret_cast<void*>(&plain_add),
                             std::move(options))
             .ok());
}

TEST_CASE("a function is found by symbol") {
  Ends ends;
  auto probe = ReturnProbe::Attach("libc.so.6:labs", ends.Options());
  REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
  long (*volatile call)(long) = &labs;
  CHECK(call(-5) == 5);
  CHECK(ends.returned == 1);
  auto unknown = ReturnProbe::Attach("libc.so.6:labz", ends.Options());
  CHECK(unknown.status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("a function that returns twice is refused") {
  auto probe = ReturnProbe::Attach("libc.so.6:vfork", {});
  CHECK(probe.status().code() == absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace retprobe
