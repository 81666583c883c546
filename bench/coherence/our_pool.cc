// SPDX-License-Identifier: Apache-2.0
#include "coherence/our_pool.h"

#include <utility>

#include "coherence/objpool_policy.h"
#include "objpool/closing.h"
#include "objpool/objpool_hot.h"
#include "objpool/popping.h"
#include "objpool/pushing.h"
#include "objpool/sizing.h"
#include "topology/topology.h"

namespace retprobe::bench {
namespace {

using Core = BasicPoolCore<ObjPoolPolicy>;

// The real Create has laid out memory in which all that changes is atomic; here
// it is taken for the same layout of our atomics.
static_assert(sizeof(Core) == sizeof(BasicPoolCore<Native>));
static_assert(sizeof(Slot<ObjPoolPolicy>) == sizeof(Slot<Native>));
static_assert(sizeof(ObjPoolPolicy::Magazine) == sizeof(Magazine));
static_assert(sizeof(ObjPoolPolicy::Header) == sizeof(MagazineHeader));

class OurPool final : public ModelPool {
 public:
  OurPool(std::unique_ptr<Topology> topology, std::unique_ptr<ObjPool> pool,
          bool count_operations)
      : topology_(std::move(topology)),
        pool_(std::move(pool)),
        magazines_(pool_->magazines()),
        core_(static_cast<Core*>(
            static_cast<ObjPoolPolicy::Header*>(magazines_)[-1].core)),
        count_operations_(count_operations) {}

  void* Pop() override {
    if (count_operations_) count_.fetch_add(1, std::memory_order_relaxed);
    const uintptr_t object = ObjPoolPolicy::MagazinePop(magazines_);
    return object != arch::kLookFurther ? reinterpret_cast<void*>(object)
                                        : Core::PopSlow(core_->header());
  }
  void Push(void* object) override {
    if (!ObjPoolPolicy::MagazinePush(magazines_, object)) {
      Core::PushSlow(core_->header(), object);
    }
  }

 private:
  std::unique_ptr<Topology> topology_;
  std::unique_ptr<ObjPool> pool_;
  void* magazines_;
  Core* core_;
  bool count_operations_;
  alignas(64) SimAtomic<uint64_t> count_;
};

}  // namespace

std::unique_ptr<ModelPool> MakeOurPool(const std::string& description,
                                       ObjPool::Backend backend, size_t objects,
                                       bool count_operations) {
  auto topology = description.substr(0, 1) == "<"
                      ? TopologyFromXml(description)
                      : SyntheticTopology(description);
  if (!topology.ok()) return nullptr;
  auto kept = std::make_unique<Topology>(*std::move(topology));
  auto pool = ObjPool::Create({.object_size = 64,
                               .object_count = objects,
                               .backend = backend,
                               .topology = kept.get()});
  if (!pool.ok()) return nullptr;
  return std::make_unique<OurPool>(std::move(kept), *std::move(pool),
                                   count_operations);
}

}  // namespace retprobe::bench
