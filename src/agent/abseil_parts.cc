// SPDX-License-Identifier: Apache-2.0
#include "absl/base/config.h"

// Debian compiles Abseil's static libraries for programs: four members keep
// thread-local variables in a way that cannot be part of a shared object. Here
// is what stands in for them in the agent. Sampling, random iteration order and
// cached thread ids are of no use there.
//
// Tied to the release; another one is expected to be built with this project,
// as position-independent code.
#if ABSL_LTS_RELEASE_VERSION == 20220623
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/base/internal/sysinfo.h"
#include "absl/container/internal/raw_hash_set.h"
#include "absl/strings/internal/cordz_functions.h"

namespace absl {
ABSL_NAMESPACE_BEGIN

namespace base_internal {
double NominalCPUFrequency() { return 1.0; }
int NumCPUs() { return 2; }  // only asked whether there is one: to spin or not
pid_t GetTID() { return static_cast<pid_t>(syscall(SYS_gettid)); }
pid_t GetCachedTID() { return GetTID(); }
}  // namespace base_internal

namespace cord_internal {
constinit thread_local int64_t cordz_next_sample = INT64_MAX;
int32_t get_cordz_mean_interval() { return 0; }
void set_cordz_mean_interval(int32_t) {}
bool cordz_should_profile_slow() { return false; }
void cordz_set_next_sample_for_testing(int64_t) {}
}  // namespace cord_internal

namespace container_internal {

alignas(16) constexpr ctrl_t kEmptyGroup[16] = {
    ctrl_t::kSentinel, ctrl_t::kEmpty, ctrl_t::kEmpty, ctrl_t::kEmpty,
    ctrl_t::kEmpty,    ctrl_t::kEmpty, ctrl_t::kEmpty, ctrl_t::kEmpty,
    ctrl_t::kEmpty,    ctrl_t::kEmpty, ctrl_t::kEmpty, ctrl_t::kEmpty,
    ctrl_t::kEmpty,    ctrl_t::kEmpty, ctrl_t::kEmpty, ctrl_t::kEmpty};

bool ShouldInsertBackwards(size_t, const ctrl_t*) { return false; }

template FindInfo find_first_non_full(const ctrl_t*, size_t, size_t);

// After deletions without growth: deleted -> empty, full -> deleted, and the
// copies of the first bytes behind the sentinel renewed.
void ConvertDeletedToEmptyAndFullToDeleted(ctrl_t* ctrl, size_t capacity) {
  for (ctrl_t* at = ctrl; at < ctrl + capacity; at += Group::kWidth) {
    Group{at}.ConvertSpecialToEmptyAndFullToDeleted(at);
  }
  memcpy(ctrl + capacity + 1, ctrl, NumClonedBytes());
  ctrl[capacity] = ctrl_t::kSentinel;
}

void HashTableSizeOverflow() { __builtin_trap(); }

}  // namespace container_internal

ABSL_NAMESPACE_END
}  // namespace absl
#endif  // ABSL_LTS_RELEASE_VERSION
