// SPDX-License-Identifier: Apache-2.0
#include "patch/stack_scan.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "arch/arch.h"
#include "patch/relocate.h"
#include "patch/trap.h"

namespace retprobe {
namespace {

constexpr uintptr_t kPageSize = 4096;
constexpr uintptr_t kDeepestStack = 8 << 20;
constexpr int kMaxStacks = 4;

// Copies within this process; false where a plain access would fault.
bool Transfer(long call, uintptr_t address, void* buffer, size_t size) {
  const iovec local = {buffer, size};
  const iovec remote = {reinterpret_cast<void*>(address), size};
  return arch::SystemCall(call, arch::SystemCall(SYS_getpid),
                          reinterpret_cast<long>(&local), 1,
                          reinterpret_cast<long>(&remote), 1,
                          0) == static_cast<long>(size);
}

// The kernel's struct sigcontext as 8-byte words: ... rsp rip eflags, then cs,
// gs, fs and ss of 2 bytes each.
bool IsFrame(uint64_t flags, uint64_t segments) {
  constexpr uint64_t kAlwaysSet = 2;
  constexpr uint64_t kUserCode = 0x33;
  constexpr uint64_t kUserStack = 0x2b;
  return flags < 1 << 22 && (flags & kAlwaysSet) != 0 &&
         (segments & 0xffff) == kUserCode && segments >> 48 == kUserStack;
}

// Whether the frame whose pc is saved at `address` is that of an int3: its
// handler, which has not run yet, will take the pc for what it is. The frame of
// another thread can come into view where stacks lie side by side. The kernel
// puts the siginfo 136 bytes behind the pc.
bool IsTrap(uintptr_t address) {
  constexpr uintptr_t kToSignalInfo = 136;
  int info[3];  // number, errno, code
  return Transfer(SYS_process_vm_readv, address + kToSignalInfo, info,
                  sizeof(info)) &&
         info[0] == SIGTRAP && info[2] == SI_KERNEL;
}

// Where the stack that `sp` points into ends at the latest.
uintptr_t EndOfStack(uintptr_t sp, const StackLimits& limits) {
  size_t low = 0;
  size_t high = limits.count;  // the first mapping that ends behind sp
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (limits.mappings[middle].end > sp) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  const uintptr_t most = sp + kDeepestStack;
  if (low == limits.count || limits.mappings[low].begin > sp) return most;
  const uintptr_t end = limits.mappings[low].end;
  return end < most ? end : most;
}

// The stacks found so far, each with how far up it has been read.
struct Stacks {
  struct Part {
    uintptr_t begin;
    uintptr_t end;
  };
  Part parts[kMaxStacks];
  int count = 0;

  void Add(uintptr_t sp) {
    sp &= ~uintptr_t{7};
    for (int i = 0; i < count; ++i) {
      if (sp >= parts[i].begin && sp < parts[i].end) return;
    }
    if (count < kMaxStacks) parts[count++] = {sp, sp + kPageSize};
  }
};

// Whether the frame whose pc is saved at `address` has SIGTRAP blocked: the
// kernel keeps the mask 128 bytes behind the pc.
bool IsMasked(uintptr_t address) {
  constexpr uintptr_t kToMask = 128;
  uint64_t mask = 0;
  return Transfer(SYS_process_vm_readv, address + kToMask, &mask,
                  sizeof(mask)) &&
         (mask >> (SIGTRAP - 1) & 1) != 0;
}

// What a window of four words that slides up a stack does with each position.
bool Inspect(const uint64_t (&window)[4], uintptr_t address, Contexts what,
             Stacks* stacks) {
  if (!IsFrame(window[2], window[3])) return false;
  const uintptr_t copy = CopyOf(window[1]);
  bool left = false;
  if (copy != 0 && what == Contexts::kFindMasked) {
    left = IsMasked(address);
  } else if (copy != 0 && !IsTrap(address)) {
    uint64_t word = copy;
    left = what == Contexts::kFind ||
           !Transfer(SYS_process_vm_writev, address, &word, sizeof(word));
  }
  stacks->Add(window[0]);
  return left;
}

}  // namespace

uintptr_t CopyOf(uintptr_t pc) {
  for (uintptr_t offset = 1; offset < kJumpSize; ++offset) {
    const EntryPatch* patch = ArmedPatches().Find(pc - offset);
    // Relaxed: set before the request that leads here, by which it is seen.
    if (patch == nullptr ||
        !__atomic_load_n(&patch->changing, __ATOMIC_RELAXED)) {
      continue;
    }
    if (patch->moved[offset] != 0) return patch->stub + patch->moved[offset];
  }
  return 0;
}

bool FindInterrupted(uintptr_t sp, Contexts what, const StackLimits& limits,
                     uint64_t* page) {
  Stacks stacks;
  stacks.Add(sp);
  bool left = false;
  for (int i = 0; i < stacks.count; ++i) {
    const uintptr_t begin = stacks.parts[i].begin;
    uint64_t window[4] = {};
    const uintptr_t end = EndOfStack(begin, limits);
    for (uintptr_t at = begin; at < end;) {
      const size_t size = kPageSize - at % kPageSize;
      if (!Transfer(SYS_process_vm_readv, at, page, size)) break;
      for (size_t word = 0; word < size / 8; ++word) {
        window[0] = window[1];
        window[1] = window[2];
        window[2] = window[3];
        window[3] = page[word];
        left |= Inspect(window, at + word * 8 - 16, what, &stacks);
      }
      at += size;
      stacks.parts[i].end = at;
    }
  }
  return left;
}

}  // namespace retprobe
