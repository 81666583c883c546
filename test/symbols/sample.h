// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_SYMBOLS_SAMPLE_H_
#define RETPROBE_TEST_SYMBOLS_SAMPLE_H_

extern "C" {
int sample_exported(int x);     // calls every static one below
int sample_alias(int x);        // the same code
int sample_ifunc(int x);        // x + 2, by sample_ifunc_chosen
int sample_unsized();           // assembler, no size, with unwind entry
int sample_unknown();           // assembler, no size, no unwind entry
void* sample_static_address();  // of sample_static
}

namespace sample {

class Shape {
 public:
  int Area(int x) const;
  int Area(double x) const;
  int Edges();
  Shape operator+(const Shape& other) const;
  int sides = 3;
};

template <typename T>
T Twice(T value);
extern template int Twice<int>(int);

}  // namespace sample

#endif  // RETPROBE_TEST_SYMBOLS_SAMPLE_H_
