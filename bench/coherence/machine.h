// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_MACHINE_H_
#define RETPROBE_BENCH_COHERENCE_MACHINE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "coherence/costs.h"

namespace retprobe::bench {

// The most CPUs the model has room for.
inline constexpr uint32_t kMaxModelCpus = 512;

// How far apart the CPUs of a made-up machine are. Their ids are dense.
class Machine {
 public:
  // `description`: hwloc's notation for synthetic topologies, or, if it begins
  // with '<', a topology in its XML. Errors: kInvalidArgument.
  static absl::StatusOr<Machine> Create(const std::string& description);

  uint32_t cpus() const { return static_cast<uint32_t>(fill_order_.size()); }

  Distance Between(uint32_t a, uint32_t b) const {
    return distances_[a * cpus() + b];
  }

  // The CPUs in the order in which they are put to work: package by package,
  // one CPU of each core before any core's second, as published measurements
  // did.
  const std::vector<uint32_t>& fill_order() const { return fill_order_; }

 private:
  std::vector<Distance> distances_;
  std::vector<uint32_t> fill_order_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_MACHINE_H_
