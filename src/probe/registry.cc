// SPDX-License-Identifier: Apache-2.0
#include "probe/registry.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <new>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/membarrier.h"
#include "patch/thread_mover.h"
#include "patch/trap.h"
#include "probe/frame_finder.h"
#include "probe/jump_guard.h"
#include "probe/trap_guard.h"
#include "probe/vector_class.h"
#include "probe/vfork_guard.h"
#include "rethook/guard.h"
#include "rethook/prepare.h"
#include "rethook/trampoline.h"

namespace retprobe {
namespace {

using Probe = ReturnProbe::Probe;

constexpr size_t kDataAlignment = 16;

// What lies before a probe's data: its DepthAccount.
size_t RoomBefore(const Probe& probe) {
  return probe.state.max_depth > 0 ? kDataAlignment : 0;
}

size_t DataRoom(const Probe& probe) {
  return RoomBefore(probe) + (probe.data_size + kDataAlignment - 1) /
                                 kDataAlignment * kDataAlignment;
}

uint32_t LimitsOf(const ProbeState& state) {
  return (state.maxactive > 0 ? uint32_t{kLimitActive} : 0) |
         (state.max_depth > 0 ? uint32_t{kLimitDepth} : 0) |
         (state.max_hits > 0 ? uint32_t{kLimitHits} : 0);
}

// relaxed, all three: statistics.
Missed Counters(const Site& site) {
  return {.empty = site.missed_empty.load(std::memory_order_relaxed),
          .recursion = site.missed_recursion.load(std::memory_order_relaxed),
          .dying = site.missed_dying.load(std::memory_order_relaxed)};
}

constexpr uint8_t kLeafFlags = RETPROBE_FLAG_LEAF | RETPROBE_FLAG_LEAF_SSE |
                               RETPROBE_FLAG_ENTRY_LEAF |
                               RETPROBE_FLAG_ENTRY_LEAF_SSE;

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

uint64_t HitsOf(const ProbeState& state) {
  // relaxed: a count; those that came too late have counted, too.
  return std::min(state.hits.load(std::memory_order_relaxed), state.max_hits);
}

// Whether a handler runs on `instance` in this very thread.
bool RunsHere(const ReturnInstance& instance) {
  return retprobe_guard.in_handler != 0 && retprobe_guard.running == &instance;
}

// What the probe has missed since it was attached.
Missed MissedBy(const Probe& probe) {
  Missed missed = Counters(probe.function->site);
  if (probe.before != nullptr) {
    missed.empty -= probe.before->empty;
    missed.recursion -= probe.before->recursion;
    missed.dying -= probe.before->dying;
  }
  // relaxed, all: statistics.
  missed.empty += probe.state.missed_empty.load(std::memory_order_relaxed);
  missed.depth = probe.state.missed_depth.load(std::memory_order_relaxed);
  missed.limit = probe.state.missed_limit.load(std::memory_order_relaxed);
  return missed;
}

// All but what it shares with others of its function.
ProbeInfo InfoOf(const Probe& probe) {
  ProbeInfo info;
  info.function = const_cast<void*>(probe.function->site.function);
  info.state = !probe.enabled  ? ProbeInfo::State::kDisabled
               : !probe.live() ? ProbeInfo::State::kUsedUp
                               : ProbeInfo::State::kEnabled;
  info.missed = MissedBy(probe);
  if (probe.state.max_hits != 0) info.hits = HitsOf(probe.state);
  info.max_hits = probe.state.max_hits;
  info.max_depth = static_cast<int>(probe.state.max_depth);
  info.maxactive = probe.state.maxactive;
  info.data_size = probe.data_size;
  info.filtered = probe.filter != nullptr;
  info.entry_only = probe.entry_only;
  info.uses_trap = probe.uses_trap;
  return info;
}

std::atomic<uint32_t> g_next_number{0};  // of a probe

Registry* g_forking;  // set once

// How often a batch may wait for a thread that it has waited for in vain.
constexpr int kMostWaits = 64;

using Refusals = absl::flat_hash_map<const EntryPatch*, absl::Status>;

// Arms what can be armed of `patches`, of which not all can: one function whose
// bytes a thread does not leave must not keep the others from being probed.
// Waits `attempts` times at most, then refuses what is left.
void ArmInParts(absl::Span<EntryPatch* const> patches, int* attempts,
                Refusals* refusals) {
  const size_t half = patches.size() / 2;
  for (const auto part : {patches.subspan(0, half), patches.subspan(half)}) {
    const absl::Status status = ArmEntryPatches(part);
    if (status.ok()) continue;
    if (absl::IsUnavailable(status)) --*attempts;
    if (part.size() > 1 && *attempts > 0) {
      ArmInParts(part, attempts, refusals);
      continue;
    }
    for (const EntryPatch* patch : part) (*refusals)[patch] = status;
  }
}

}  // namespace

const HandlerCode& HandlerReader::Read(const void* function) {
  const auto [it, fresh] = known_.try_emplace(function);
  if (fresh && function != nullptr) it->second = ReadHandlerCode(function);
  return it->second;
}

Probe* MakeProbe(ReturnProbeOptions options, HandlerReader& reader) {
  auto* probe = new Probe;
  probe->state.maxactive = options.maxactive;
  probe->state.max_depth = static_cast<uint32_t>(options.max_depth);
  // relaxed: a number, nothing is published by it.
  probe->state.number = g_next_number.fetch_add(1, std::memory_order_relaxed);
  probe->state.max_hits = options.max_hits;
  probe->state.stops_at_max_hits = options.stop_at_max_hits;
  probe->entry_handler = std::move(options.entry_handler);
  probe->return_handler = std::move(options.return_handler);
  probe->data_size = static_cast<uint32_t>(options.data_size);
  probe->saved_arguments = static_cast<uint8_t>(options.saved_arguments);
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

Registry& Registry::Get() {
  static Registry* const registry = new Registry;
  return *registry;
}

Registry::Registry() : ready_(PrepareTrampoline()) {
  if (ready_.ok()) Guard();
  // A child inherits the lock as it was: free.
  g_forking = this;
  pthread_atfork([] { g_forking->mutex_.lock(); },
                 [] { g_forking->mutex_.unlock(); },
                 [] {
                   g_forking->ForgetOtherThreads();
                   g_forking->mutex_.unlock();
                 });
}

void Registry::Replace(const Replacement& replacement) {
  if (absl::StatusOr<PatchedFunction*> function = Prepare(replacement.function);
      function.ok()) {
    Replace(**function, replacement.code);
  }
}

void Registry::Guard() {
  // Where vfork or clone cannot be replaced, their children's calls are probed;
  // where longjmp cannot, what it leaves stays out.
  Replace(ReplaceVfork());
  Replace(ReplaceClone());
  for (const Replacement& jump : ReplaceJumps()) Replace(jump);
  AttachOurOwn(SpawnGuards());
}

void Registry::GuardTraps() {
  InstallTrapHandler().IgnoreError();  // what it cannot, arming cannot
  AttachOurOwn(TrapGuards());
  UnblockTrapInHandlers();
}

void Registry::AttachOurOwn(std::vector<ReturnProbe::Request> requests) {
  HandlerReader reader;
  for (ReturnProbe::Request& request : requests) {
    Item item = {request.function,
                 MakeProbe(std::move(request.options), reader),
                 absl::OkStatus(), /*entry_only=*/false};
    item.probe->internal = true;
    Attach({&item, 1});
  }
}

void Registry::TeachUnwinder(void* finder) {
  if (finder == taught_) return;
  taught_ = finder;  // once: what cannot be patched now never will
  if (finder == nullptr) return;
  // Where it cannot be replaced, libgcc does not see through stubs.
  if (absl::StatusOr<PatchedFunction*> function = Prepare(finder);
      function.ok()) {
    const auto body = reinterpret_cast<const void*>((*function)->patch->body);
    Replace(**function, ReplaceFrameFinder(body));
  }
}

void Registry::Replace(PatchedFunction& function, const void* replacement) {
  // relaxed: before publication.
  function.site.entry.store(replacement, std::memory_order_relaxed);
  ArmEntryPatches({&function.patch, 1}).IgnoreError();
}

bool Registry::BringTraps(absl::Span<const Item> items) {
  const bool first =
      !traps_guarded_ &&
      std::any_of(items.begin(), items.end(), [](const Item& item) {
        return item.status.ok() && item.probe->uses_trap;
      });
  traps_guarded_ = traps_guarded_ || first;
  return first;
}

absl::StatusOr<PatchedFunction*> Registry::Prepare(void* function) {
  const auto it = functions_.find(static_cast<const void*>(function));
  const bool known = it != functions_.end();
  PatchedFunction& entry = known ? **it : storage_.emplace_back();
  // Asked even for a known one: its module may have gone and another come.
  absl::StatusOr<EntryPatch*> patch =
      PrepareEntryPatch(reinterpret_cast<uintptr_t>(function), 0, &entry.site);
  if (!patch.ok()) {
    if (!known) storage_.pop_back();
    return patch.status();
  }
  if (entry.patch == *patch) return &entry;
  entry.patch = *patch;
  entry.site.function = function;
  entry.site.bypass = reinterpret_cast<const void*>((*patch)->bypass);
  // relaxed, both: before publication.
  entry.site.entry.store(entry.site.bypass, std::memory_order_relaxed);
  if (!known) {
    entry.site.list.store(kNoList, std::memory_order_relaxed);
    functions_.insert(&entry);
  }
  return &entry;
}

absl::Status Registry::Publish(PatchedFunction& function) {
  size_t count = 0;
  size_t data = 0;
  for (const Probe* p = function.probes; p != nullptr; p = p->next) {
    if (!p->live()) continue;
    ++count;
    data += DataRoom(*p);
  }
  if (count > kMaxHandlers) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the function has ", kMaxHandlers, " enabled probes already"));
  }
  Site& site = function.site;
  OwnedList list;
  if (count > 0) {
    const absl::StatusOr<ObjPool*> pool = pools_.ForDataSize(data);
    if (!pool.ok()) return pool.status();
    list.reset(static_cast<HandlerList*>(
        std::calloc(1, sizeof(HandlerList) + count * sizeof(Handler))));
    if (list == nullptr) return absl::ResourceExhaustedError("out of memory");
    list->magazines = (*pool)->magazines();
    list->body = reinterpret_cast<const void*>(function.patch->body);
    list->site = &site;
    if (function.entry_only) {
      list->flags |= RETPROBE_FLAG_ENTRY | RETPROBE_FLAG_ENTRY_ONLY;
    }
    size_t offset = 0;
    uint8_t entry_vectors = 0;
    uint8_t return_vectors = 0;
    for (Probe* p = function.probes; p != nullptr; p = p->next) {
      if (!p->live()) continue;
      Name(*list, *p, offset);
      entry_vectors |= p->entry_vectors;
      return_vectors |= p->return_vectors;
    }
    list->entry_path =
        retprobe_entry_paths[static_cast<int>(ClassFor(entry_vectors))];
    list->return_path =
        retprobe_return_paths[static_cast<int>(ClassFor(return_vectors))];
    if (IsSimple(*list)) {
      list->flags |= RETPROBE_FLAG_SIMPLE;
    } else {
      list->flags &= ~kLeafFlags;
    }
  }
  // relaxed: nothing is published; threads that go astray meanwhile find
  // kNoList and take the bypass.
  if (list == nullptr) {
    site.entry.store(site.bypass, std::memory_order_relaxed);
  }
  const bool live = list != nullptr;
  HandlerList* const fresh = live ? list.release() : kNoList;
  // R0 -> A0 (rethook/dispatch.cc): the list is complete.
  // R0 -> the trampoline, whose plain load acquires on x86-64.
  // S0 <-> S2 (rethook/dispatch.cc): total order of this change before the sum
  // in WaitForEntering. Nothing is acquired: the lock orders the old list.
  HandlerList* old = site.list.exchange(fresh, std::memory_order_seq_cst);
  if (live) {
    // R1 -> the stub, which jumps through it by a plain load: who is led to the
    // trampoline finds the list there. (With kNoList he would be safe, but
    // counted as missed.)
    site.entry.store(reinterpret_cast<const void*>(&retprobe_entry),
                     std::memory_order_release);
  }
  if (old != kNoList) retired_.Add(OwnedList(old), pools_);
  return absl::OkStatus();
}

absl::Status Registry::Add(const Item& item) {
  const absl::StatusOr<PatchedFunction*> patched = Prepare(item.function);
  if (!patched.ok()) return patched.status();
  PatchedFunction* const entry = *patched;
  Probe* const probe = item.probe;
  entry->entry_only = item.entry_only;
  probe->entry_only = item.entry_only;
  probe->uses_trap = entry->patch->traps();
  Probe** last = &entry->probes;
  while (*last != nullptr) last = &(*last)->next;
  *last = probe;
  probe->function = entry;
  const Missed before = Counters(entry->site);
  if (before.total() > 0) probe->before = std::make_unique<Missed>(before);
  probe->attached = true;
  absl::Status status = Publish(*entry);
  if (!status.ok()) *last = nullptr;
  return status;
}

void Registry::Arm(absl::Span<Item> items) {
  std::vector<EntryPatch*> patches;
  for (const Item& item : items) {
    if (!item.status.ok() || item.probe->function->patch->armed) continue;
    patches.push_back(item.probe->function->patch);
  }
  if (patches.empty()) return;
  const absl::Status status = ArmEntryPatches(patches);
  if (status.ok()) return;
  Refusals refusals;
  if (patches.size() == 1) {
    refusals[patches[0]] = status;
  } else {
    const BriefPatience brief;
    int attempts = kMostWaits;
    ArmInParts(patches, &attempts, &refusals);
  }
  for (Item& item : items) {
    if (!item.status.ok()) continue;
    const auto refused = refusals.find(item.probe->function->patch);
    if (refused == refusals.end()) continue;
    item.status = refused->second;
    Remove(item.probe);
  }
}

// Ends a probe that Remove has taken out. Not under the lock: a handler that is
// waited for may itself be waiting for the registry.
void Registry::Finish(Probe* probe) {
  if (probe->entry_handler || probe->return_handler) {
    // S1 <-> S3 (rethook/dispatch.cc): total order of `dead` before `running`
    // here, of `running` before `dead` there, and in the trampoline: a full
    // fence in every thread. Either the handler sees `dead` and does not run or
    // WaitForHandlers sees it running.
    const bool fenced = SynchronizeMemory();
    const bool here = WaitForHandlers(probe->state);
    // None will be called any more: what they hold goes now, not when the last
    // activation has ended.
    if (fenced && !here) {
      probe->entry_handler = {};
      probe->return_handler = {};
    }
  }
  std::lock_guard<std::mutex> lock(mutex_);
  probe->attached = false;
  if (probe->lists == 0) delete probe;
}

void Registry::Attach(absl::Span<Item> items) {
  SetupScope scope;
  void* const finder =
      FrameFinder();  // not under the lock: it takes the loader's
  bool traps;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (ready_.ok()) TeachUnwinder(finder);
    for (Item& item : items) {
      item.status.Update(ready_);
      if (item.status.ok()) item.status = Add(item);
    }
    traps = BringTraps(items);
    if (!traps) Arm(items);
  }
  if (traps) {
    GuardTraps();
    std::lock_guard<std::mutex> lock(mutex_);
    Arm(items);
  }
  for (Item& item : items) {
    if (!item.status.ok()) Finish(std::exchange(item.probe, nullptr));
  }
}

// Takes the probe out of its function's list; the patch goes with the last one.
void Registry::Remove(Probe* probe) {
  // relaxed: Finish's membarrier orders it before what WaitForHandlers reads.
  probe->state.dead.store(true, std::memory_order_relaxed);
  PatchedFunction& function = *probe->function;
  Probe** link = &function.probes;
  while (*link != probe) link = &(*link)->next;
  *link = probe->next;
  if (probe->enabled) {
    probe->enabled = false;
    // A shorter list than before cannot fail for its size; out of memory leaves
    // the old one in place, where the probe is dead.
    Publish(function).IgnoreError();
  }
  if (function.probes == nullptr && function.patch->armed) {
    EntryPatch* const patch = function.patch;
    // A patch that stays leads through the bypass.
    DisarmEntryPatches({&patch, 1}).IgnoreError();
  }
}

void Registry::SetEnabled(Probe* probe, bool enabled) {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  if (enabled && probe->enabled && !probe->live()) {
    // relaxed: a count. Whoever comes meanwhile begins to use it up again.
    probe->state.hits.store(0, std::memory_order_relaxed);
  } else if (probe->enabled == enabled) {
    return;
  }
  const bool before = std::exchange(probe->enabled, enabled);
  if (!Publish(*probe->function).ok()) probe->enabled = before;
}

absl::Status Registry::SetFilter(Probe* probe, const CallFilter& filter) {
  SetupScope scope;
  absl::StatusOr<OwnedFilter> fresh = MakeFilter(filter);
  if (!fresh.ok()) return fresh.status();
  std::lock_guard<std::mutex> lock(mutex_);
  std::swap(probe->filter, *fresh);
  const absl::Status status = Publish(*probe->function);
  if (!status.ok()) std::swap(probe->filter, *fresh);
  fresh->reset();  // what is not needed any more, under the lock
  return status;
}

std::vector<const ObjPool*> Registry::Pools() {
  std::lock_guard<std::mutex> lock(mutex_);
  return pools_.All();
}

bool Registry::WaitForHandlers(const ProbeState& state) {
  const std::vector<const ObjPool*> pools = Pools();
  for (;;) {
    bool running = false;
    bool here = false;
    const auto look = [&](void* object) {
      auto& instance = *static_cast<ReturnInstance*>(object);
      // A0 <- R0 (rethook/dispatch.cc), R1 (rethook/dispatch.cc): when the
      // handler is not running any more, what it did is done.
      // A0 <- the trampoline, whose plain stores release on x86-64.
      if (instance.running.load(std::memory_order_acquire) != &state) return;
      (RunsHere(instance) ? here : running) = true;
    };
    for (const ObjPool* pool : pools) pool->ForEachObject(look);
    if (!running) return here;
    sched_yield();
  }
}

void Registry::Detach(Probe* probe) {
  SetupScope scope;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    Remove(probe);
  }
  Finish(probe);
}

void Registry::ForgetOtherThreads() {
  pools_.ForEach([](ReturnInstance& instance) {
    // relaxed: the child has one thread.
    if (!RunsHere(instance)) {
      instance.running.store(nullptr, std::memory_order_relaxed);
    }
  });
  for (PatchedFunction& function : storage_) {
    for (Probe* p = function.probes; p != nullptr; p = p->next) {
      // relaxed: as above. What this thread has under way is let off its place.
      p->state.active.store(0, std::memory_order_relaxed);
    }
  }
}

Missed Registry::MissedOf(const Probe* probe) {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  return MissedBy(*probe);
}

std::vector<ProbeInfo> Registry::List() {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  absl::flat_hash_map<const Site*, size_t> under_way;
  pools_.ForEach([&](ReturnInstance& instance) {
    // relaxed: a snapshot. The list is not freed while we have the lock.
    const HandlerList* list = instance.list.load(std::memory_order_relaxed);
    if (list != nullptr) ++under_way[list->site];
  });
  std::vector<ProbeInfo> infos;
  for (const PatchedFunction& function : storage_) {
    const size_t first = infos.size();
    for (const Probe* p = function.probes; p != nullptr; p = p->next) {
      if (!p->internal) infos.push_back(InfoOf(*p));
    }
    for (size_t i = first; i < infos.size(); ++i) {
      infos[i].probes_on_function = infos.size() - first;
      infos[i].under_way = under_way[&function.site];
    }
  }
  return infos;
}

size_t Registry::Instances() {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  size_t count = 0;
  pools_.ForEach([&](ReturnInstance&) { ++count; });
  return count;
}

size_t Registry::InstancesInUse() {
  SetupScope scope;
  std::lock_guard<std::mutex> lock(mutex_);
  size_t count = 0;
  for (const ObjPool* pool : pools_.All()) {
    // Its list alone does not tell: a thread that was interrupted behind that
    // store of the critical section, and went on on another CPU, has left the
    // instance where it was.
    for (void* object : pool->InUse()) {
      const auto& instance = *static_cast<ReturnInstance*>(object);
      // relaxed: a snapshot.
      count += instance.list.load(std::memory_order_relaxed) != nullptr;
    }
  }
  return count;
}

}  // namespace retprobe
