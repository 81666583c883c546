// SPDX-License-Identifier: Apache-2.0
#include "probe/make_probe.h"

#include <atomic>
#include <cstdint>
#include <utility>

namespace retprobe {
namespace {

std::atomic<uint32_t> g_next_number{0};  // of a probe

uint8_t LeafFlags(const HandlerCode& entry, const HandlerCode& ret) {
  uint8_t flags = 0;
  if (ret.leaf) {
    flags |= ret.vectors == 0 ? RETPROBE_FLAG_LEAF : RETPROBE_FLAG_LEAF_SSE;
  }
  if (entry.leaf) {
    flags |= entry.vectors == 0 ? RETPROBE_FLAG_ENTRY_LEAF
                                : RETPROBE_FLAG_ENTRY_LEAF_SSE;
  }
  return flags;
}

}  // namespace

const HandlerCode& HandlerReader::Read(const void* function) {
  const auto [it, fresh] = known_.try_emplace(function);
  if (fresh && function != nullptr) it->second = ReadHandlerCode(function);
  return it->second;
}

ReturnProbe::Probe* MakeProbe(ReturnProbeOptions options,
                              HandlerReader& reader) {
  auto* probe = new ReturnProbe::Probe;
  probe->state.maxactive = options.maxactive;
  probe->state.max_depth = static_cast<uint32_t>(options.max_depth);
  // relaxed: a number, nothing is published by it.
  probe->state.number = g_next_number.fetch_add(1, std::memory_order_relaxed);
  probe->state.max_hits = options.max_hits;
  probe->state.stops_at_max_hits = options.stop_at_max_hits;
  probe->entry_handler = std::move(options.entry_handler);
  probe->return_handler = std::move(options.return_handler);
  probe->state.data_size = static_cast<uint32_t>(options.data_size);
  probe->saved_arguments = options.saved_arguments & 7;
  // Copies: reading the second may move the first.
  HandlerCode entry =
      reader.Read(reinterpret_cast<const void*>(probe->entry_handler.invoke()));
  HandlerCode ret = reader.Read(
      reinterpret_cast<const void*>(probe->return_handler.invoke()));
  if (options.handlers_leave_vectors_alone) entry.vectors = ret.vectors = 0;
  probe->leaf_flags = LeafFlags(entry, ret);
  probe->entry_vectors = entry.vectors;
  probe->return_vectors = ret.vectors;
  probe->enabled = options.enabled;
  return probe;
}

}  // namespace retprobe
