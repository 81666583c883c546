// SPDX-License-Identifier: Apache-2.0
#include "patch/live_patch.h"

#include <signal.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/membarrier.h"
#include "patch/memory_file.h"
#include "patch/relocate.h"
#include "patch/thread_mover.h"
#include "patch/threads.h"
#include "patch/trap.h"

namespace retprobe {

LivePatchFaults live_patch_faults;

namespace {

constexpr uint8_t kBreakpoint = 0xcc;

// Makes every thread that runs fetch its instructions anew before it executes
// another one of this program.
absl::Status SynchronizeCores() {
  if (IssueMembarrier(Membarrier::kSyncCore)) return absl::OkStatus();
  absl::Status status = RegisterMembarrier(Membarrier::kSyncCore);
  if (status.ok() && IssueMembarrier(Membarrier::kSyncCore)) return status;
  return absl::UnavailableError(absl::StrCat(
      "other threads run and cannot be synchronized: ", status.message()));
}

// For the time of a batch this thread takes no signal but the processor's own:
// its int3 too, since the functions of the C library it calls may be changing.
class OnlyTraps {
 public:
  OnlyTraps() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int trap : {SIGTRAP, SIGSEGV, SIGBUS, SIGILL, SIGFPE}) {
      sigdelset(&blocked, trap);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before_);
  }
  ~OnlyTraps() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  OnlyTraps(const OnlyTraps&) = delete;
  OnlyTraps& operator=(const OnlyTraps&) = delete;

 private:
  sigset_t before_;
};

bool CallerBlocksTraps() {
  sigset_t blocked;
  return pthread_sigmask(SIG_SETMASK, nullptr, &blocked) == 0 &&
         sigismember(&blocked, SIGTRAP) == 1;
}

// One entry and what its bytes are and become.
struct Site {
  EntryPatch* patch;
  uint8_t before[kJumpSize];
  uint8_t after[kJumpSize];
};

class Batch {
 public:
  Batch(const MemoryFile& memory, std::vector<Site> sites)
      : memory_(memory), sites_(std::move(sites)) {}

  bool HasTraps() const {
    return std::any_of(sites_.begin(), sites_.end(), [](const Site& site) {
      return site.patch->patched == kTrapSize;
    });
  }

  // With one thread nobody sees a half-written entry.
  absl::Status WriteAtOnce(bool arm) {
    if (arm && HasTraps()) {
      absl::Status status = InstallTrapHandler();
      if (!status.ok()) return status;
    }
    for (size_t i = 0; i < sites_.size(); ++i) {
      absl::Status status =
          Put(sites_[i], sites_[i].after, 0, sites_[i].patch->patched);
      if (status.ok()) continue;
      while (i-- > 0) {
        Put(sites_[i], sites_[i].before, 0, sites_[i].patch->patched)
            .IgnoreError();
      }
      return status;
    }
    return absl::OkStatus();
  }

  // int3 wherever a thread may go on: first and where instructions begin inside
  // the jump, if the jump has one there itself. Then the bytes between, those
  // int3 that do not stay, and the first byte. After each step every core is
  // synchronized, so that none executes a mixture.
  absl::Status WriteLive(bool arm) {
    absl::Status status = InstallTrapHandler();
    if (status.ok()) status = SynchronizeCores();
    if (status.ok()) {
      SetChanging(arm);
      status = AwaitTrappable(arm, /*passing=*/!arm || !HasTraps());
    }
    if (status.ok() && !live_patch_faults.no_breakpoint) {
      status = PutBreakpoints();
    }
    // Where the jump has none, threads must be moved, but not to take it back:
    // nobody is inside one instruction.
    if (status.ok() && arm && HasUntrappable() &&
        !live_patch_faults.no_moving) {
      status = MoveThreadsOut();
      if (!status.ok()) Restore();
    }
    SetChanging(false);
    if (!status.ok()) return status;
    status = PutTails(&Site::after);
    if (status.ok()) status = PutFirst(&Site::after);
    if (!status.ok()) {
      PutBreakpoints().IgnoreError();
      PutTails(&Site::before).IgnoreError();
      Restore();
    }
    return status;
  }

 private:
  using Bytes = uint8_t (Site::*)[kJumpSize];

  absl::Status Put(const Site& site, const uint8_t* bytes, size_t offset,
                   size_t size) {
    return memory_.Write(site.patch->address + offset, bytes + offset, size);
  }

  absl::Status PutByte(const Site& site, size_t offset, uint8_t byte) {
    return memory_.Write(site.patch->address + offset, &byte, 1);
  }

  // All int3 that threads may run into.
  absl::Status PutBreakpoints() {
    for (const Site& site : sites_) {
      absl::Status status = PutByte(site, 0, kBreakpoint);
      for (size_t i = 1; status.ok() && i < kJumpSize; ++i) {
        if (site.patch->TrapsAt(i)) status = PutByte(site, i, kBreakpoint);
      }
      if (status.ok()) continue;
      Restore();
      return status;
    }
    return SynchronizeCores();
  }

  // What is behind the first bytes: first with the int3 that stand there.
  absl::Status PutTails(Bytes bytes) {
    bool more = false;
    for (const Site& site : sites_) {
      if (site.patch->patched == kTrapSize) continue;
      uint8_t trapping[kJumpSize];
      std::memcpy(trapping, site.*bytes, kJumpSize);
      for (size_t i = 1; i < kJumpSize; ++i) {
        if (!site.patch->TrapsAt(i)) continue;
        more |= trapping[i] != kBreakpoint;
        trapping[i] = kBreakpoint;
      }
      absl::Status status = Put(site, trapping, 1, site.patch->patched - 1u);
      if (!status.ok()) return status;
    }
    absl::Status status = SynchronizeCores();
    if (!status.ok() || !more) return status;
    for (const Site& site : sites_) {
      for (size_t i = 1; i < kJumpSize; ++i) {
        if (!site.patch->TrapsAt(i)) continue;
        status = PutByte(site, i, (site.*bytes)[i]);
        if (!status.ok()) return status;
      }
    }
    return SynchronizeCores();
  }

  absl::Status PutFirst(Bytes bytes) {
    for (const Site& site : sites_) {
      absl::Status status = Put(site, site.*bytes, 0, 1);
      if (!status.ok()) return status;
    }
    return SynchronizeCores();
  }

  // Takes the int3 back. Where that fails they stay and lead on.
  void Restore() {
    for (const Site& site : sites_) {
      for (size_t i = 1; i < kJumpSize; ++i) {
        if (site.patch->TrapsAt(i))
          PutByte(site, i, site.before[i]).IgnoreError();
      }
    }
    SynchronizeCores().IgnoreError();
    PutFirst(&Site::before).IgnoreError();
  }

  // Whether threads can be where no int3 of the jump would stop them.
  bool HasUntrappable() const {
    for (const Site& site : sites_) {
      for (size_t i = 1; i < kJumpSize; ++i) {
        if (site.patch->moved[i] != 0 && !site.patch->TrapsAt(i)) return true;
      }
    }
    return false;
  }

  void SetChanging(bool changing) {
    for (const Site& site : sites_) {
      // Relaxed: published by the requests to the threads.
      __atomic_store_n(&site.patch->changing, changing, __ATOMIC_RELAXED);
    }
  }

  const MemoryFile& memory_;
  std::vector<Site> sites_;
};

absl::Status Changed(const EntryPatch& patch) {
  return absl::FailedPreconditionError(
      absl::StrCat("the code at 0x", absl::Hex(patch.address),
                   " has been changed by someone else"));
}

// The entries that must change, ascending, after a check of what they hold.
absl::StatusOr<std::vector<Site>> CollectSites(
    absl::Span<EntryPatch* const> patches, bool arm, const MemoryFile& memory) {
  std::vector<EntryPatch*> sorted(patches.begin(), patches.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const EntryPatch* a, const EntryPatch* b) {
              return a->address < b->address;
            });
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  std::vector<Site> sites;
  sites.reserve(sorted.size());
  for (EntryPatch* patch : sorted) {
    if (patch->armed == arm) continue;
    if (!sites.empty() && patch->address - sites.back().patch->address <
                              sites.back().patch->patched) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the entries at 0x", absl::Hex(sites.back().patch->address),
          " and 0x", absl::Hex(patch->address), " overlap"));
    }
    Site site{.patch = patch, .before = {}, .after = {}};
    const size_t size = patch->patched;
    std::memcpy(site.before, patch->original, size);
    EncodePatch(*patch, site.after);
    if (!arm) std::swap(site.before, site.after);
    uint8_t now[kJumpSize];
    const size_t got = memory.Read(patch->address, now, size);
    if (!arm && (got != size || std::memcmp(now, site.after, size) == 0)) {
      patch->armed = false;  // the module is gone, or was loaded anew
      continue;
    }
    if (got != size || std::memcmp(now, site.before, size) != 0) {
      return Changed(*patch);
    }
    sites.push_back(site);
  }
  return sites;
}

}  // namespace

void EncodePatch(const EntryPatch& patch, uint8_t* bytes) {
  if (patch.patched == kTrapSize) {
    bytes[0] = kBreakpoint;
    return;
  }
  const int32_t distance =
      static_cast<int32_t>(patch.stub - (patch.address + kJumpSize));
  bytes[0] = 0xe9;
  std::memcpy(bytes + 1, &distance, sizeof(distance));
}

absl::Status SwitchEntries(absl::Span<EntryPatch* const> patches, bool arm) {
  absl::StatusOr<MemoryFile> memory = MemoryFile::Open();
  if (!memory.ok()) return memory.status();
  absl::StatusOr<std::vector<Site>> sites = CollectSites(patches, arm, *memory);
  if (!sites.ok()) return sites.status();
  if (sites->empty()) return absl::OkStatus();
  std::vector<EntryPatch*> changed;
  changed.reserve(sites->size());
  for (const Site& site : *sites) {
    changed.push_back(site.patch);
    if (arm) ArmedPatches().Insert(site.patch);
  }
  std::vector<pid_t> others;
  const bool alone = OtherThreads(&others) && others.empty();
  absl::Status status;
  {
    Batch batch(*memory, *std::move(sites));
    if (arm && batch.HasTraps() && CallerBlocksTraps()) {
      return absl::UnavailableError(
          "the calling thread blocks SIGTRAP: an int3 would kill it");
    }
    const OnlyTraps only_traps;
    status = alone ? batch.WriteAtOnce(arm) : batch.WriteLive(arm);
  }
  if (!status.ok()) return status;
  for (EntryPatch* patch : changed) patch->armed = arm;
  return absl::OkStatus();
}

}  // namespace retprobe
