// SPDX-License-Identifier: Apache-2.0
#include "versions.h"

#include <benchmark/benchmark.h>
#include <sys/utsname.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "pool_list.h"
#include "retprobe/version.h"
#include "scenario.h"

#if RETPROBE_BENCH_DPDK
#include <rte_version.h>
#endif

namespace retprobe::bench {
namespace {

std::string ProcessorName() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

std::string KernelVersion() {
  utsname names;
  return uname(&names) == 0 ? absl::StrCat(names.sysname, " ", names.release)
                            : "unknown";
}

const char* BackendName(ObjPool::Backend backend) {
  return backend == ObjPool::Backend::kRseq ? "rseq" : "cas";
}

// What kAuto comes to here.
std::string OurBackend() {
  auto pool = ObjPool::Create({.object_size = 64, .object_count = 1});
  return pool.ok() ? BackendName((*pool)->backend()) : "none";
}

void AddLibrary(const char* name, bool there, const std::string& version,
                const char* package, std::string& left_out) {
  benchmark::AddCustomContext(name, there ? version : "missing");
  if (!there) absl::StrAppend(&left_out, name, " (no ", package, "); ");
}

}  // namespace

void AddContext() {
  benchmark::AddCustomContext("processor", ProcessorName());
  benchmark::AddCustomContext("cpus_allowed", std::to_string(CpuCount()));
  benchmark::AddCustomContext("kernel", KernelVersion());
  benchmark::AddCustomContext("compiler", __VERSION__);
  benchmark::AddCustomContext("google_benchmark", RETPROBE_BENCH_LIBRARY);
  benchmark::AddCustomContext(
      "retprobe", absl::StrCat(RETPROBE_VERSION_STRING, " ", OurBackend()));
  const MallocIdentity malloc = IdentifyMalloc();
  benchmark::AddCustomContext(malloc.name, malloc.version);

  std::string left_out;
  AddLibrary("concurrency_kit", RETPROBE_BENCH_CK, RETPROBE_BENCH_CK_VERSION,
             "libck-dev", left_out);
  AddLibrary("moodycamel", RETPROBE_BENCH_MOODYCAMEL,
             RETPROBE_BENCH_MOODYCAMEL_VERSION, "libconcurrentqueue-dev",
             left_out);
  AddLibrary("boost", RETPROBE_BENCH_BOOST, RETPROBE_BENCH_BOOST_VERSION,
             "libboost-dev", left_out);
  AddLibrary("onetbb", RETPROBE_BENCH_TBB, RETPROBE_BENCH_TBB_VERSION,
             "libtbb-dev", left_out);
#if RETPROBE_BENCH_DPDK
  std::string error;
  if (RteMempool::Start(&error)) {
    benchmark::AddCustomContext("dpdk", rte_version());
  } else {
    absl::StrAppend(&left_out, "rte_mempool (DPDK does not start: ", error,
                    "); ");
  }
#else
  AddLibrary("dpdk", false, "", "libdpdk-dev", left_out);
#endif
  benchmark::AddCustomContext("left_out",
                              left_out.empty() ? "nothing" : left_out);
}

}  // namespace retprobe::bench
