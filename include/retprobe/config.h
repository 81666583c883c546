// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CONFIG_H_
#define RETPROBE_CONFIG_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "retprobe/export.h"

namespace retprobe {

// How a pool's objects find their way between CPUs.
enum class PoolBackend : uint8_t {
  kAuto,            // the best that works here
  kRseq,            // restartable sequences, or an error
  kCas,             // compare-and-swap alone
  kPercpuFreelist,  // one list per CPU
  kFreelist,        // one list for all
};

// Which NUMA node's memory a pool's objects lie in.
enum class PoolPlacement : uint8_t {
  kLocal,       // every node has its share, and its CPUs take of that first
  kInterleave,  // page by page on all of them
  kNode,        // PoolConfig::node
};

// Of every pool whose options leave it at their default. Unset: nobody has set
// it, or "auto". Each is explained in retprobe.conf(5) as pool.NAME.
struct PoolConfig {
  std::optional<size_t> objects;
  std::optional<size_t> max_objects;  // at least `objects`, if both are set
  std::optional<size_t> growth_chunk;
  std::optional<int> magazine_capacity;
  std::optional<size_t> ring_capacity;
  PoolBackend backend = PoolBackend::kAuto;
  PoolPlacement placement = PoolPlacement::kLocal;
  int node = -1;  // of PoolPlacement::kNode
  bool push_home = true;
  bool huge_pages = false;
};

// Of every return probe; retprobe.conf(5), probe.NAME.
struct ProbeConfig {
  int maxactive = 0;  // where ReturnProbeOptions has 0; 0: no limit
  size_t data_size_limit = (size_t{1} << 30) - 4096;  // bytes
  std::string blacklist;  // patterns, separated by semicolons
};

struct Config {
  PoolConfig pool;
  ProbeConfig probe;
};

// The configuration of this process, from the weakest to the strongest:
//
//   1. defaults
//   2. the TOML file that SetConfigFile names, else RETPROBE_CONFIG
//   3. RETPROBE_OPTIONS, "pool.objects=64k,pool.backend=cas"
//   4. SetConfigOptions
//   5. what the program asks for in the options of a pool or a probe
//
// File and environment are read once, by whichever function here is called
// first, or by the first pool or probe. Pools and probes that are there keep
// what they were made with. A set-user-ID program ignores the environment.
//
// Errors, of all three: kInvalidArgument, one line with file, line, column,
//   key, what is wrong and what was expected. The environment's stays until the
//   process ends or, if the file is to blame, until SetConfigFile.
// Thread-safe; not async-signal-safe.
RETPROBE_API absl::StatusOr<Config> ActiveConfig();

// Reads `path` in place of RETPROBE_CONFIG and of any file before; empty: no
// file. On error what was in force stays so, all of it.
RETPROBE_API absl::Status SetConfigFile(absl::string_view path);

// Sets `options`, written as in RETPROBE_OPTIONS, in addition to those of
// earlier calls. On error what was in force stays so, all of it.
RETPROBE_API absl::Status SetConfigOptions(absl::string_view options);

}  // namespace retprobe

#endif  // RETPROBE_CONFIG_H_
