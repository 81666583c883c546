// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_DEPTH_ACCOUNT_H_
#define RETPROBE_RETHOOK_DEPTH_ACCOUNT_H_

#include <cstdint>

namespace retprobe {

// Activations of a probe that a thread began and that are under way. One that
// a fiber has taken to another thread stays in the account of the one it began
// in, so none is ever lost, and a fiber that moves begins at 0 again.
struct DepthAccount {
  // Most activations that can be told apart.
  static constexpr uint32_t kMaxDepth = 65535;

  // Instead of an account.
  static constexpr uint32_t kTooDeep = UINT32_MAX;
  static constexpr uint32_t kNoRoom = UINT32_MAX - 1;

  // Adds one for the calling thread, unless there are `limit` already. Returns
  // the account, for Leave, to be called once, from any thread. kNoRoom: too
  // many are in use just now, about 100,000 in the whole process.
  static uint32_t Enter(uint32_t probe, uint32_t limit);
  static void Leave(uint32_t account);
};

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_DEPTH_ACCOUNT_H_
