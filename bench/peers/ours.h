// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_OURS_H_
#define RETPROBE_BENCH_PEERS_OURS_H_

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/cpu.h"
#include "objpool/pool_core.h"
#include "retprobe/objpool.h"
#include "topology/topology.h"

namespace retprobe::bench {

// `kInline`: the fast path as the trampoline has it, in the caller's code like
// the peers'; else the library's functions.
template <ObjPool::Backend kBackend, bool kInline>
class Ours {
 public:
  // `cpus`: that many made-up CPUs; 0: the machine's.
  Ours(size_t count, size_t size, int cpus = 0) {
    if (cpus > 0) topology_ = std::make_unique<Topology>(FlatTopology(cpus));
    auto pool = ObjPool::Create({.object_size = size,
                                 .object_count = count,
                                 .backend = kBackend,
                                 .topology = topology_.get()});
    if (!pool.ok()) {
      std::fprintf(stderr, "objpool_bench: %s\n",
                   std::string(pool.status().message()).c_str());
      std::exit(1);
    }
    pool_ = *std::move(pool);
    magazines_ = pool_->magazines();
  }

  void* Pop() {
    return kInline ? PoolCore::Pop(magazines_, RseqOffset()) : pool_->Pop();
  }
  void Push(void* object) {
    if (kInline) {
      PoolCore::Push(magazines_, object, RseqOffset());
    } else {
      pool_->Push(object);
    }
  }

 private:
  std::unique_ptr<Topology> topology_;
  void* magazines_;
  std::unique_ptr<ObjPool> pool_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_OURS_H_
