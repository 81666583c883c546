// SPDX-License-Identifier: Apache-2.0
#include "probe/handler_list.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "probe/filter.h"
#include "probe/vector_class.h"
#include "rethook/trampoline.h"

namespace retprobe {
namespace {

using Probe = ReturnProbe::Probe;

constexpr size_t kDataAlignment = 16;

constexpr uint8_t kLeafFlags = RETPROBE_FLAG_LEAF | RETPROBE_FLAG_LEAF_SSE |
                               RETPROBE_FLAG_ENTRY_LEAF |
                               RETPROBE_FLAG_ENTRY_LEAF_SSE;

// What lies before a probe's data: its DepthAccount.
size_t RoomBefore(const Probe& probe) {
  return probe.state.max_depth > 0 ? kDataAlignment : 0;
}

size_t DataRoom(const Probe& probe) {
  return RoomBefore(probe) + (probe.state.data_size + kDataAlignment - 1) /
                                 kDataAlignment * kDataAlignment;
}

uint32_t LimitsOf(const ProbeState& state) {
  return (state.maxactive > 0 ? uint32_t{kLimitActive} : 0) |
         (state.max_depth > 0 ? uint32_t{kLimitDepth} : 0) |
         (state.max_hits > 0 ? uint32_t{kLimitHits} : 0);
}

// Enters `probe` into `list`; its data lies at `data`, which moves on.
void Name(HandlerList& list, Probe& probe, size_t& data) {
  const uint32_t limits = LimitsOf(probe.state);
  list.handlers[list.count++] = {
      .probe = &probe.state,
      .entry = probe.entry_handler.invoke(),
      .ret = probe.return_handler.invoke(),
      .entry_user = probe.entry_handler.user(),
      .return_user = probe.return_handler.user(),
      .data_offset = static_cast<uint32_t>(data + RoomBefore(probe)),
      .limits = limits,
      .checks = probe.filter.get(),
  };
  data += DataRoom(probe);
  ++probe.lists;
  if (probe.filter != nullptr) ++probe.filter->lists;
  if (probe.entry_handler || probe.saved_arguments > 0 || limits != 0 ||
      probe.filter != nullptr) {
    list.flags |= RETPROBE_FLAG_ENTRY;
  }
  if (probe.return_handler || limits != 0) list.flags |= RETPROBE_FLAG_RETURN;
  list.flags |= probe.leaf_flags;
  if (probe.saved_arguments > list.saved_arguments) {
    list.saved_arguments = probe.saved_arguments;
  }
}

// Undoes what Name did to the probe.
void Unname(const Handler& handler) {
  UnnameFilter(handler.checks);
  auto* probe = reinterpret_cast<Probe*>(handler.probe);
  if (--probe->lists == 0 && !probe->attached) delete probe;
}

void NameAll(HandlerList& list, const PatchedFunction& function) {
  size_t data = 0;
  uint8_t entry_vectors = 0;
  uint8_t return_vectors = 0;
  for (Probe* p = function.probes; p != nullptr; p = p->next) {
    if (!p->live()) continue;
    Name(list, *p, data);
    entry_vectors |= p->entry_vectors;
    return_vectors |= p->return_vectors;
  }
  list.entry_path =
      retprobe_entry_paths[static_cast<int>(ClassFor(entry_vectors))];
  list.return_path =
      retprobe_return_paths[static_cast<int>(ClassFor(return_vectors))];
}

// Whether the trampoline can run the list's handlers by itself.
bool IsSimple(const HandlerList& list) {
  if (list.count != 1 || list.saved_arguments > 0 ||
      (list.flags & RETPROBE_FLAG_ENTRY_ONLY) != 0) {
    return false;
  }
  const Handler& handler = list.handlers[0];
  return handler.limits == 0 && handler.checks == nullptr &&
         (handler.entry != nullptr || (list.flags & RETPROBE_FLAG_ENTRY) == 0);
}

}  // namespace

void FreeList::operator()(HandlerList* list) const {
  for (uint32_t i = 0; i < list->count; ++i) Unname(list->handlers[i]);
  std::free(list);
}

absl::StatusOr<OwnedList> MakeHandlerList(PatchedFunction& function,
                                          InstancePools& pools) {
  size_t count = 0;
  size_t data = 0;
  for (const Probe* p = function.probes; p != nullptr; p = p->next) {
    if (!p->live()) continue;
    ++count;
    data += DataRoom(*p);
  }
  if (count == 0) return nullptr;
  if (count > kMaxHandlers) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the function has ", kMaxHandlers, " enabled probes already"));
  }
  const absl::StatusOr<ObjPool*> pool = pools.ForDataSize(data);
  if (!pool.ok()) return pool.status();
  OwnedList list(static_cast<HandlerList*>(
      std::calloc(1, sizeof(HandlerList) + count * sizeof(Handler))));
  if (list == nullptr) return absl::ResourceExhaustedError("out of memory");
  list->magazines = (*pool)->magazines();
  list->body = reinterpret_cast<const void*>(function.patch->body());
  list->site = &function.site;
  if (function.probes->entry_only) {
    list->flags |= RETPROBE_FLAG_ENTRY | RETPROBE_FLAG_ENTRY_ONLY;
  }
  NameAll(*list, function);
  if (IsSimple(*list)) {
    list->flags |= RETPROBE_FLAG_SIMPLE;
  } else {
    list->flags &= ~kLeafFlags;
  }
  return list;
}

}  // namespace retprobe
