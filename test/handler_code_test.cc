// SPDX-License-Identifier: Apache-2.0
#include "probe/handler_code.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <cstring>

#include "retprobe/return_probe.h"

extern "C" {
long (*g_changing_function)(long) = nullptr;
}

namespace retprobe {
namespace {

template <typename Callable>
HandlerCode ReadEntry(Callable callable) {
  const EntryHandler handler(callable);
  return ReadHandlerCode(reinterpret_cast<const void*>(handler.invoke()));
}

template <typename Callable>
HandlerCode ReadReturn(Callable callable) {
  const ReturnHandler handler(callable);
  return ReadHandlerCode(reinterpret_cast<const void*>(handler.invoke()));
}

uint64_t g_word;
double g_number;

TEST_CASE("what a handler's code changes is read") {
  const HandlerCode nothing = ReadReturn([](ReturnContext&) noexcept {});
  CHECK(nothing.vectors == 0);
  CHECK(nothing.leaf);
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          asm volatile("pxor %%xmm3, %%xmm3" ::: "memory");
        }).vectors == kSseFew);
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          asm volatile("pxor %%xmm4, %%xmm4" ::: "memory");
        }).vectors == kSse);
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          asm volatile("vpxor %%xmm3, %%xmm3, %%xmm3" ::: "memory");
        }).vectors == kFew);
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          asm volatile("vzeroupper" ::: "memory");
        }).vectors == kLow);
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          asm volatile("vpxord %%zmm16, %%zmm16, %%zmm16" ::: "memory");
        }).vectors == kHigh);
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          asm volatile("kxnorw %%k1, %%k1, %%k1" ::: "memory");
        }).vectors == kMasks);
  // Reading a register is not changing it.
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          asm volatile("vmovups %%zmm16, -128(%%rsp)\n kmovw %%k1, %%eax" ::
                           : "eax", "memory");
        }).vectors == 0);
  // Named by nothing but the instruction.
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          asm volatile("pcmpistrm $0, %%xmm5, %%xmm5" ::: "memory");
        }).vectors == kSseFew);
}

TEST_CASE("a handler that uses its context is followed, and may be a leaf") {
  const HandlerCode argument = ReadEntry([](EntryContext& context) noexcept {
    g_word += context.argument(1);
    return true;
  });
  CHECK(argument.vectors == 0);
  CHECK(argument.leaf);
  const HandlerCode result = ReadReturn([](ReturnContext& context) noexcept {
    context.set_result(context.result() + 1);
  });
  CHECK(result.vectors == 0);
  CHECK(result.leaf);
  // Wants registers 0..7, also of the caller's.
  const HandlerCode number = ReadEntry([](EntryContext& context) noexcept {
    g_number = context.float_argument(5);
    return true;
  });
  CHECK((number.vectors & kSse) != 0);
  CHECK((number.vectors & ~(kSseFew | kSse)) == 0);
  CHECK(!number.leaf);
}

TEST_CASE("calls are followed through what the dynamic linker has bound") {
  // Bound from now on, whether lazily or not.
  const std::size_t length = std::strlen(std::getenv("PATH"));
  const auto handler = [](ReturnContext& context) noexcept {
    g_word += std::strlen(reinterpret_cast<char*>(context.data()));
  };
  const HandlerCode code = ReadReturn(handler);
  CHECK(length > 0);
  CHECK(!code.leaf);
  CHECK_MESSAGE(code.vectors != kAllVectors, int{code.vectors});
  // No slot of the linker's: it may hold anything tomorrow.
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          if (g_changing_function != nullptr) g_word = g_changing_function(1);
        }).vectors == kAllVectors);
  // Ends at abort.
  CHECK(ReadReturn([](ReturnContext&) noexcept {
          if (g_word == 77) std::abort();
        }).vectors == 0);
}

}  // namespace
}  // namespace retprobe
