// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_POOL_BACKENDS_H_
#define RETPROBE_TEST_POOL_BACKENDS_H_

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/cpu.h"
#include "retprobe/objpool.h"

namespace retprobe::test {

// The backends that work here.
inline std::vector<ObjPool::Backend> Backends() {
  std::vector<ObjPool::Backend> backends = {ObjPool::Backend::kCas,
                                            ObjPool::Backend::kPercpuFreelist,
                                            ObjPool::Backend::kFreelist};
  if (RseqAvailable()) backends.push_back(ObjPool::Backend::kRseq);
  return backends;
}

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

#endif  // RETPROBE_TEST_POOL_BACKENDS_H_
