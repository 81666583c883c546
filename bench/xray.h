// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_XRAY_H_
#define RETPROBE_BENCH_XRAY_H_

// Turns LLVM XRay's sleds on, with an empty handler, and off again. False when
// its runtime refuses.
bool PatchXray();
bool UnpatchXray();

#endif  // RETPROBE_BENCH_XRAY_H_
