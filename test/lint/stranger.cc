// SPDX-License-Identifier: Apache-2.0
// A library with one name that is ours and one that is not, and a call that the
// hot path must not make.
#include <cstring>

extern "C" {
int retprobe_ours() { return 1; }
void stranger(void* to, const void* from, size_t size) {
  std::memcpy(to, from, size);
}
}
