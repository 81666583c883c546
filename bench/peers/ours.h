// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_OURS_H_
#define RETPROBE_BENCH_PEERS_OURS_H_

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "retprobe/objpool.h"
#include "topology/topology.h"

namespace retprobe::bench {

template <ObjPool::Backend kBackend>
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
  }

  // As who uses a pool holds it: by a pointer.
  class Local {
   public:
    explicit Local(Ours& pool) : pool_(pool.pool_.get()) {}
    void* Pop() { return pool_->Pop(); }
    void Push(void* object) { pool_->Push(object); }
    size_t PopBatch(void** objects, size_t count) {
      return pool_->PopBatch(objects, count);
    }
    void PushBatch(void* const* objects, size_t count) {
      pool_->PushBatch(objects, count);
    }

   private:
    ObjPool* pool_;
  };

 private:
  std::unique_ptr<Topology> topology_;
  std::unique_ptr<ObjPool> pool_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_OURS_H_
