// SPDX-License-Identifier: Apache-2.0
//
// Handlers made of random instructions that change random registers: what the
// reader of their code finds must be enough to keep around them.
#include <doctest/doctest.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "checked_call.h"
#include "clobber_vectors.h"
#include "rethook/trampoline.h"
#include "retprobe/return_probe.h"

namespace retprobe {
namespace {

using test::VectorWords;

// Makes handlers; each instruction sets all bits of a register.
class HandlerMaker {
 public:
  explicit HandlerMaker(unsigned seed) : random_(seed) {}

  // A few instructions that a machine of `level` (retprobe_vector_level) has.
  std::vector<uint8_t> Make(int level) {
    code_.clear();
    if (Below(2) == 0) Put({0x45, 0x31, 0xc9});  // xor r9d, r9d: no leaf
    for (int count = 1 + Below(6); count > 0; --count) Add(level);
    Put({0xb8, 1, 0, 0, 0, 0xc3});  // mov eax, 1; ret
    return code_;
  }

  int Below(int bound) { return static_cast<int>(random_() % bound); }

 private:
  void Put(std::initializer_list<int> bytes) {
    for (const int byte : bytes) code_.push_back(static_cast<uint8_t>(byte));
  }

  void Add(int level) {
    // Compilers take the first ones; so do the cheaper ways of keeping them.
    const int bound = Below(2) == 0 ? 4 : 16;
    switch (Below(level == 0 ? 2 : level == 1 ? 5 : 8)) {
      case 0:
      case 1:
        return Sse(Below(bound));
      case 2:
        return Vex(Below(bound), 0);
      case 3:
        return Vex(Below(bound), 1);
      case 4:
        return Put({0xc5, Below(2) == 0 ? 0xf8 : 0xfc, 0x77});  // vzero*
      case 5:
        return Evex(Below(bound), 2);
      case 6:  // narrower ones are AVX-512VL
        return Evex(16 + Below(16), level == 3 ? Below(3) : 2);
      default:
        return Mask(Below(8));
    }
  }

  void Sse(int r) {  // pcmpeqd
    Put({0x66});
    if (r >= 8) Put({0x45});
    Put({0x0f, 0x76, 0xc0 | (r & 7) << 3 | (r & 7)});
  }

  void Vex(int r, int length) {  // vpcmpeqd
    const int high = r < 8 ? 1 : 0;
    Put({0xc4, high << 7 | 1 << 6 | high << 5 | 1,
         (~r & 15) << 3 | length << 2 | 1, 0x76,
         0xc0 | (r & 7) << 3 | (r & 7)});
  }

  void Evex(int r, int length) {  // vpternlogd $0xff
    const int bit3 = (r >> 3 & 1) ^ 1;
    const int bit4 = (r >> 4 & 1) ^ 1;
    Put({0x62, bit3 << 7 | bit4 << 6 | bit3 << 5 | bit4 << 4 | 3,
         (~r & 15) << 3 | 4 | 1, length << 5 | bit4 << 3, 0x25,
         0xc0 | (r & 7) << 3 | (r & 7), 0xff});
  }

  void Mask(int k) {  // kxnorw
    Put({0xc5, 0x84 | (~k & 7) << 3 | 0x40, 0x46, 0xc0 | k << 3 | k});
  }

  std::mt19937 random_;
  std::vector<uint8_t> code_;
};

// A page for the handler under test.
class CodePage {
 public:
  CodePage()
      : page_(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {}
  ~CodePage() { munmap(page_, 4096); }

  template <typename Handler>
  Handler Load(const std::vector<uint8_t>& code, Handler like) {
    std::memcpy(page_, code.data(), code.size());
    // The code that the trampoline calls is a handler's first word.
    std::memcpy(static_cast<void*>(&like), &page_, sizeof(page_));
    return like;
  }

 private:
  void* page_;
};

std::string Hex(const std::vector<uint8_t>& code) {
  std::string text;
  for (const uint8_t byte : code) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// How much of the registers a program of `level` may have in use.
VectorWords RandomWords(HandlerMaker& maker, int level) {
  constexpr int kSizes[] = {2, 4, 8, 8};
  VectorWords words = {kSizes[maker.Below(4)], kSizes[maker.Below(4)]};
  if (maker.Below(2) == 0) words.only = maker.Below(32);
  if (level == 1 && words.low > 4) words.low = 4;
  return words;
}

void Fuzz(int level, int rounds) {
  HandlerMaker maker(static_cast<unsigned>(level) + 1);
  CodePage page;
  for (int round = 0; round < rounds; ++round) {
    const std::vector<uint8_t> code = maker.Make(level);
    ReturnProbeOptions options;
    if (maker.Below(2) == 0) {
      options.entry_handler = page.Load(
          code, EntryHandler([](EntryContext&) noexcept { return true; }));
    } else {
      options.return_handler =
          page.Load(code, ReturnHandler([](ReturnContext&) noexcept {}));
    }
    if (maker.Below(4) == 0) options.saved_arguments = 1;  // through C++
    auto probe = ReturnProbe::Attach(reinterpret_cast<void*>(&untouching),
                                     std::move(options));
    REQUIRE_MESSAGE(probe.ok(), probe.status().ToString());
    for (unsigned i = 0; i < 3; ++i) {
      const VectorWords words = RandomWords(maker, level);
      CHECK_MESSAGE(test::CallWithRandomRegisters(&untouching, i, words) == "",
                    "level ", level, ", handler ", Hex(code), ", words ",
                    words.low, " ", words.high, " ", words.only);
    }
  }
}

TEST_CASE("every register survives handlers of random instructions") {
  if (!test::HasAvx512()) return;
  // So that it is set before it is changed.
  REQUIRE(ReturnProbe::Attach(reinterpret_cast<void*>(&untouching), {}).ok());
  const int32_t here = retprobe_vector_level;
  for (int level = 0; level <= here; ++level) {
    retprobe_vector_level = level;
    Fuzz(level, level == here ? 300 : 100);
  }
  retprobe_vector_level = here;
}

}  // namespace
}  // namespace retprobe
