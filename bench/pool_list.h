// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_POOL_LIST_H_
#define RETPROBE_BENCH_POOL_LIST_H_

#include <string>
#include <type_traits>

#include "peers/freelist.h"
#include "peers/kernel_ring.h"
#include "peers/malloc.h"
#include "peers/mutex.h"
#include "peers/ours.h"
#include "peers/percpu_freelist.h"
#include "peers/policy.h"
#if RETPROBE_BENCH_CK
#include "peers/ck.h"
#endif
#if RETPROBE_BENCH_MOODYCAMEL
#include "peers/moodycamel.h"
#endif
#if RETPROBE_BENCH_BOOST
#include "peers/boost_lockfree.h"
#endif
#if RETPROBE_BENCH_TBB
#include "peers/tbb.h"
#endif
#if RETPROBE_BENCH_DPDK
#include "peers/rte_mempool.h"
#endif

// The pools that are compared. Each is a class with
//
//   Pool(count, size)       makes all objects, before anything is timed
//   Pool(count, size, cpus) the same for so many made-up CPUs, if it can
//   void* Pop()             an object or null
//   void Push(void*)
//   PopBatch, PushBatch     if it has them
//   class Local             if a thread needs something of its own: made from
//                           the pool, it has the four functions instead
//
// and one line below; its versions and what is missing go into versions.h.

namespace retprobe::bench {

enum PoolTraits : unsigned {
  kPlain = 0,
  kUnlimited = 1,   // never empty: a malloc
  kSignalSafe = 2,  // may be used in a handler that interrupts its use
  // Spins until a preempted thread goes on. More threads than CPUs spend whole
  // time slices on that: 8 of ck_ring's on 2 CPUs over 20 s on 400,000 pops.
  kWaits = 4,
};

// Calls visit(std::type_identity<Pool>(), name, traits) for each.
template <typename Visitor>
void VisitOurs(Visitor&& visit) {
  using std::type_identity;
  using Backend = ObjPool::Backend;
  visit(type_identity<Ours<Backend::kAuto>>(), "objpool", kSignalSafe);
  visit(type_identity<Ours<Backend::kCas>>(), "objpool_cas", kSignalSafe);
  visit(type_identity<Ours<Backend::kPercpuFreelist>>(),
        "objpool_percpu_freelist", kSignalSafe);
  visit(type_identity<Ours<Backend::kFreelist>>(), "objpool_freelist",
        kSignalSafe);
}

template <typename Visitor>
void VisitBaselines(Visitor&& visit) {
  using std::type_identity;
  visit(type_identity<KernelRing<NativePolicy>>(), "kernel_ring", kSignalSafe);
  visit(type_identity<Freelist<NativePolicy>>(), "freelist", kSignalSafe);
  visit(type_identity<PercpuFreelist<NativePolicy>>(), "percpu_freelist",
        kPlain);
  visit(type_identity<MutexPool>(), "mutex", kPlain);
  visit(type_identity<Malloc>(), IdentifyMalloc().name, kUnlimited);
}

template <typename Visitor>
void VisitLibraries(Visitor&& visit) {
  using std::type_identity;
#if RETPROBE_BENCH_CK
  visit(type_identity<CkRing>(), "ck_ring", kWaits);
  visit(type_identity<CkStack>(), "ck_stack", kSignalSafe);
#endif
#if RETPROBE_BENCH_MOODYCAMEL
  visit(type_identity<Moodycamel>(), "moodycamel", kPlain);
#endif
#if RETPROBE_BENCH_BOOST
  visit(type_identity<BoostQueue>(), "boost_queue", kSignalSafe);
  visit(type_identity<BoostStack>(), "boost_stack", kSignalSafe);
#endif
#if RETPROBE_BENCH_TBB
  visit(type_identity<TbbQueue>(), "tbb_queue", kPlain);
  visit(type_identity<TbbMalloc>(), "tbbmalloc", kUnlimited);
#endif
#if RETPROBE_BENCH_DPDK
  if (std::string error; RteMempool::Start(&error)) {
    visit(type_identity<RteMempool>(), "rte_mempool", kPlain);
  }
#endif
}

template <typename Visitor>
void VisitPools(Visitor&& visit) {
  VisitOurs(visit);
  VisitBaselines(visit);
  VisitLibraries(visit);
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_POOL_LIST_H_
