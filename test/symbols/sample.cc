// SPDX-License-Identifier: Apache-2.0
#include "sample.h"

// Hidden rather than static, which compilers name in ways of their own: the
// linker makes these local, too.
#define SAMPLE_LOCAL __attribute__((noinline, visibility("hidden")))

extern "C" {

SAMPLE_LOCAL int sample_static(int x) { return x * 3 + 1; }

SAMPLE_LOCAL int sample_ifunc_chosen(int x) { return x + 2; }

using SampleFunction = int (*)(int);
SAMPLE_LOCAL SampleFunction sample_resolver() { return sample_ifunc_chosen; }
int sample_ifunc(int x) __attribute__((ifunc("sample_resolver")));

int sample_exported(int x) { return sample_static(x) - 1; }
int sample_alias(int x) __attribute__((alias("sample_exported")));

void* sample_static_address() { return reinterpret_cast<void*>(sample_static); }

}  // extern "C"

// Twelve bytes, of which only the unwind table knows; six of which nothing
// does.
asm(R"(
  .text
  .globl sample_unsized
  .type sample_unsized, @function
sample_unsized:
  .cfi_startproc
  mov $7, %eax
  nop; nop; nop; nop; nop; nop
  ret
  .cfi_endproc
  .skip 16, 0xcc
  .globl sample_unknown
  .type sample_unknown, @function
sample_unknown:
  mov $8, %eax
  ret
)");

namespace sample {
namespace {

__attribute__((noinline, used)) int Hidden(int x) { return x ^ 5; }

}  // namespace

int Shape::Area(int x) const { return sides * x; }
int Shape::Area(double x) const { return sides + static_cast<int>(x); }
int Shape::Edges() { return Hidden(sides); }
Shape Shape::operator+(const Shape& other) const {
  return Shape{sides + other.sides};
}

template <typename T>
T Twice(T value) {
  return value + value;
}
template int Twice<int>(int);

}  // namespace sample
