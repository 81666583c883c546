// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_ALLOCATOR_H_
#define RETPROBE_AGENT_ALLOCATOR_H_

#include <cstddef>

// Behind the agent's hidden malloc family; see allocator.cc.
namespace retprobe::agent {

// Memory of at least `size` bytes, undefined, aligned to `alignment` (a power
// of two), or null. Thread-safe, not async-signal-safe.
void* Allocate(size_t size, size_t alignment);

// Gives back what Allocate returned. Null and foreign pointers are left alone.
void Release(void* pointer);

// What fits at `pointer`; 0 when it is not from Allocate.
size_t AllocatedSize(void* pointer);

// In a forked child: the thread that held the lock does not exist any more.
void UnlockAllocatorInChild();

}  // namespace retprobe::agent

#endif  // RETPROBE_AGENT_ALLOCATOR_H_
