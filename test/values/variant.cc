// SPDX-License-Identifier: Apache-2.0
// Compiled several times, with other options for its frame each time.
#define CONCATENATE(a, b) a##b
#define NAME(prefix, suffix) CONCATENATE(prefix, suffix)

extern "C" __attribute__((noinline, noclone)) long NAME(
    variant_, RETPROBE_VARIANT)(long a, long b, double x) {
  volatile long local[4] = {a, b, static_cast<long>(x), 1};
  return local[0] + 2 * local[1] + 3 * local[2] + local[3];
}
