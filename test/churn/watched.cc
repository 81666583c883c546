// SPDX-License-Identifier: Apache-2.0
#include "churn/watched.h"

namespace retprobe::test {

Violations g_violations;

void Watched::Use(uint64_t life) const {
  // relaxed: like any load of what the owner frees.
  if (life_.load(std::memory_order_relaxed) != life) ++g_violations.late;
}

uint64_t Watched::Tag(uint64_t life) const {
  return reinterpret_cast<uintptr_t>(this) ^ life << 48;
}

bool Watched::OnEntry(uint64_t life, EntryContext& context) {
  Use(life);
  // relaxed: a counter.
  entries_.fetch_add(1, std::memory_order_relaxed);
  *static_cast<uint64_t*>(context.data()) = Tag(life);
  Use(life);
  return true;
}

void Watched::OnReturn(uint64_t life, bool tagged, ReturnContext& context) {
  Use(life);
  if (tagged) {
    auto& tag = *static_cast<uint64_t*>(context.data());
    if (tag != Tag(life)) ++g_violations.orphans;
    tag = 0;
  }
  const bool returned = context.reason() == EndReason::kReturned;
  // relaxed: a counter.
  (returned ? returned_ : unwound_).fetch_add(1, std::memory_order_relaxed);
  Use(life);
}

ReturnProbeOptions Watched::Begin(Kind kind) {
  entries_ = returned_ = unwound_ = 0;
  const uint64_t life = ++life_;
  ReturnProbeOptions options;
  const bool tagged = kind != kReturnOnly;
  if (tagged) {
    options.data_size = kind == kLimited ? 700 : 8;
    options.entry_handler = [this, life](EntryContext& context) noexcept {
      return OnEntry(life, context);
    };
  }
  if (kind == kLimited) options.maxactive = 3;
  if (kind == kArguments) options.saved_arguments = 2;
  options.return_handler = [this, life,
                            tagged](ReturnContext& context) noexcept {
    OnReturn(life, tagged, context);
  };
  return options;
}

Watched& NextWatched() {
  static Watched all[1024];
  static std::atomic<size_t> next{0};
  for (;;) {
    Watched& watched = all[next++ % 1024];
    if (!watched.alive()) return watched;
  }
}

}  // namespace retprobe::test
