// SPDX-License-Identifier: Apache-2.0
// The pools that the model can run, and what is known of their cost.
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "base/cpu.h"
#include "coherence/model.h"
#include "coherence/our_pool.h"
#include "coherence/sim_policy.h"
#include "coherence/uninterrupted_ring.h"
#include "peers/freelist.h"
#include "peers/kernel_ring.h"
#include "peers/percpu_freelist.h"
#include "peers/refcounted_freelist.h"

namespace retprobe::bench {
namespace {

constexpr size_t kObjectSize = 64;

template <typename Pool>
class Peer final : public ModelPool {
 public:
  template <typename... Cpus>
  explicit Peer(size_t objects, Cpus... cpus)
      : pool_(objects, kObjectSize, cpus...) {}
  void* Pop() override { return pool_.Pop(); }
  void Push(void* object) override { pool_.Push(object); }

  static std::unique_ptr<ModelPool> Make(const std::string& topology,
                                         uint32_t cpus, size_t objects) {
    if constexpr (std::is_constructible_v<Pool, size_t, size_t, uint32_t>) {
      return std::make_unique<Peer>(objects, cpus);
    } else {
      return std::make_unique<Peer>(objects);
    }
  }

 private:
  Pool pool_;
};

template <ObjPool::Backend kBackend>
std::unique_ptr<ModelPool> Ours(const std::string& topology, uint32_t cpus,
                                size_t objects) {
  return MakeOurPool(topology, kBackend, objects);
}

}  // namespace

// Measured with one thread on a two-CPU guest of an Emerald Rapids Xeon, least
// of five runs of each pool's algorithm, the machine quiet. Our own and some of
// the freelists' are from a later run on a busy one, of which the least of 180
// is taken; kernel_ring's miss is scaled by what both measured.
const std::vector<PoolKind>& PoolKinds() {
  using LockEach = PercpuFreelist<SimPolicy, EmptyCheck::kLockEach>;
  using LockFree = LockFreePercpuFreelist<SimPolicy>;
  static const std::vector<PoolKind> kinds = [] {
    std::vector<PoolKind> all = {
        {"objpool_cas", Ours<ObjPool::Backend::kCas>, 16'600, 4'000, false},
        {"kernel_ring", Peer<KernelRing<SimPolicy>>::Make, 16'700, 295'000,
         true},
        {"kernel_ring_irqs_off", Peer<UninterruptedRing<SimPolicy>>::Make,
         16'100, 174'000, true},
        {"freelist", Peer<Freelist<SimPolicy>>::Make, 27'300, 1'110, false},
        {"freelist_refcounted", Peer<RefcountedFreelist<SimPolicy>>::Make,
         41'100, 1'340, false},
        {"percpu_freelist", Peer<PercpuFreelist<SimPolicy>>::Make, 20'100,
         48'000, true},
        {"percpu_freelist_lock_each", Peer<LockEach>::Make, 20'100, 1'153'000,
         true},
        {"percpu_freelist_lock_free", Peer<LockFree>::Make, 27'800, 48'000,
         true},
    };
    if (RseqAvailable()) {
      all.insert(all.begin(), {"objpool", Ours<ObjPool::Backend::kRseq>, 1'700,
                               1'360, false});
    }
    return all;
  }();
  return kinds;
}

const PoolKind* FindPoolKind(const std::string& name) {
  for (const PoolKind& kind : PoolKinds()) {
    if (name == kind.name) return &kind;
  }
  return nullptr;
}

}  // namespace retprobe::bench
