// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TOPOLOGY_MEMORY_H_
#define RETPROBE_TOPOLOGY_MEMORY_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// On which NUMA node memory lies. For memory from mmap, whole pages; best
// before it is first touched. On machines with one node, and without hwloc
// (flat.cc), the binding calls do nothing and succeed. They cost microseconds
// (milliseconds the first time), allocate, and are not async-signal-safe.

namespace retprobe {

// New pages of [address, address + bytes) come from node `node` while it has
// some, else from the node next to it. Never from nowhere: an exclusive binding
// would turn a full node into SIGBUS or the OOM killer at some later touch, in
// a Pop or a handler, where nobody can answer it. Errors: kInvalidArgument,
// this machine has no such node, and which it has;
//   kFailedPrecondition, it has no memory, or the cgroup forbids it.
// On error new pages come from where they are first touched.
absl::Status BindMemory(void* address, size_t bytes, int node);

// New pages come from all nodes that have CPUs in turn; from memory of another
// kind (GPUs, CXL) only when it is asked for by BindMemory.
// Errors: kFailedPrecondition, the system forbids it.
absl::Status InterleaveMemory(void* address, size_t bytes);

// The node that holds the page at `address`. Errors: kNotFound, the page was
// never touched or is not mapped; kUnimplemented, the system does not tell.
absl::StatusOr<int> NodeOfPage(const void* address);

// Whether pages of [address, address + bytes) may become huge ones (2 MiB,
// where it covers an aligned 2 MiB): fewer TLB misses for objects in use all
// over; but the first touch of one byte takes 2 MiB, on one node, which is
// wrong for per-CPU metadata. Errors: kUnimplemented, a kernel without.
absl::Status AllowHugePages(void* address, size_t bytes, bool allow);

}  // namespace retprobe

#endif  // RETPROBE_TOPOLOGY_MEMORY_H_
