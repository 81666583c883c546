// SPDX-License-Identifier: Apache-2.0
#include "xray.h"

#include <cstdint>

// From LLVM's xray/xray_interface.h, which other compilers do not find.
enum XRayEntryType : int;
enum { kXraySuccess = 1 };
extern "C" {
int __xray_set_handler(void (*entry)(int32_t, XRayEntryType));
int __xray_patch();
int __xray_unpatch();
}

namespace {
void EmptyHandler(int32_t, XRayEntryType) {}
}  // namespace

bool PatchXray() {
  return __xray_set_handler(EmptyHandler) != 0 &&
         __xray_patch() == kXraySuccess;
}

bool UnpatchXray() { return __xray_unpatch() == kXraySuccess; }
