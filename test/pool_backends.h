// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_POOL_BACKENDS_H_
#define RETPROBE_TEST_POOL_BACKENDS_H_

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "objpool/memory_checkers.h"
#include "objpool/pool_core.h"
#include "retprobe/objpool.h"

namespace retprobe::test {

// Every backend as a type, for TEST_CASE_TEMPLATE: each makes a case.
template <ObjPool::Backend kValue>
struct Using {
  static constexpr ObjPool::Backend kBackend = kValue;
};
using Auto = Using<ObjPool::Backend::kAuto>;
using Rseq = Using<ObjPool::Backend::kRseq>;
using Cas = Using<ObjPool::Backend::kCas>;
using PercpuFreelist = Using<ObjPool::Backend::kPercpuFreelist>;
using Freelist = Using<ObjPool::Backend::kFreelist>;
#define RETPROBE_ALL_BACKENDS                                            \
  ::retprobe::test::Auto, ::retprobe::test::Rseq, ::retprobe::test::Cas, \
      ::retprobe::test::PercpuFreelist, ::retprobe::test::Freelist

inline std::string Name(ObjPool::Backend backend) {
  switch (backend) {
    case ObjPool::Backend::kAuto:
      return "auto";
    case ObjPool::Backend::kRseq:
      return "rseq";
    case ObjPool::Backend::kCas:
      return "cas";
    case ObjPool::Backend::kPercpuFreelist:
      return "percpu_freelist";
    case ObjPool::Backend::kFreelist:
      return "freelist";
  }
  return "?";
}

// Whether a pool can have this backend here.
inline bool Works(ObjPool::Backend backend) {
  return backend != ObjPool::Backend::kRseq || RseqAvailable();
}

// The backends that work here, each by one name.
inline std::vector<ObjPool::Backend> Backends() {
  std::vector<ObjPool::Backend> backends = {ObjPool::Backend::kCas,
                                            ObjPool::Backend::kPercpuFreelist,
                                            ObjPool::Backend::kFreelist};
  if (RseqAvailable()) backends.push_back(ObjPool::Backend::kRseq);
  return backends;
}

// Whether CPUs keep objects to themselves: builds that check what users do have
// every pop and push take the slow path.
inline bool HasMagazines() {
  return RseqAvailable() && !RETPROBE_DEBUG_CHECKS && !RETPROBE_ASAN;
}

inline std::unique_ptr<ObjPool> MakePool(const ObjPool::Options& options) {
  auto pool = ObjPool::Create(options);
  REQUIRE_MESSAGE(pool.ok(), std::string(pool.status().message()));
  return *std::move(pool);
}

// Everything that is idle.
inline std::vector<void*> PopAll(ObjPool& pool) {
  std::vector<void*> objects;
  while (void* object = pool.Pop()) objects.push_back(object);
  return objects;
}

}  // namespace retprobe::test

TYPE_TO_STRING_AS("auto", retprobe::test::Auto);
TYPE_TO_STRING_AS("rseq", retprobe::test::Rseq);
TYPE_TO_STRING_AS("cas", retprobe::test::Cas);
TYPE_TO_STRING_AS("percpu_freelist", retprobe::test::PercpuFreelist);
TYPE_TO_STRING_AS("freelist", retprobe::test::Freelist);

#endif  // RETPROBE_TEST_POOL_BACKENDS_H_
