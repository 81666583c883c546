// SPDX-License-Identifier: Apache-2.0
#include "patch/live_patch.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
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
constexpr auto kPatience = std::chrono::seconds(5);

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

  // With one thread nobody sees a half-written entry.
  absl::Status WriteAtOnce() {
    for (size_t i = 0; i < sites_.size(); ++i) {
      absl::Status status = Put(sites_[i], sites_[i].after, 0, kJumpSize);
      if (status.ok()) continue;
      while (i-- > 0)
        Put(sites_[i], sites_[i].before, 0, kJumpSize).IgnoreError();
      return status;
    }
    return absl::OkStatus();
  }

  // int3, then the bytes behind it, then the first. Between two of them every
  // core is synchronized, so that none executes a mixture.
  absl::Status WriteLive(bool arm) {
    const Deadline deadline = std::chrono::steady_clock::now() + kPatience;
    absl::Status status = InstallTrapHandler();
    if (status.ok()) status = SynchronizeCores();
    if (status.ok()) status = AwaitTrappable(deadline);
    if (!status.ok()) return status;
    if (!live_patch_faults.no_breakpoint) {
      status = PutBreakpoints();
      if (!status.ok()) return status;
    }
    // Taking a jump back needs no moving: nobody is inside one instruction.
    if (arm && HasInteriors() && !live_patch_faults.no_moving) {
      SetChanging(true);
      status = MoveThreadsOut(deadline);
      SetChanging(false);
      if (!status.ok()) {
        RestoreFirst();
        return status;
      }
    }
    status = PutTails(&Site::after);
    if (status.ok()) status = PutFirst(&Site::after);
    if (!status.ok()) {
      PutBreakpoints().IgnoreError();
      PutTails(&Site::before).IgnoreError();
      RestoreFirst();
    }
    return status;
  }

 private:
  using Bytes = uint8_t (Site::*)[kJumpSize];

  absl::Status Put(const Site& site, const uint8_t* bytes, size_t offset,
                   size_t size) {
    return memory_.Write(site.patch->address + offset, bytes + offset, size);
  }

  absl::Status PutBreakpoints() {
    for (size_t i = 0; i < sites_.size(); ++i) {
      absl::Status status = Put(sites_[i], &kBreakpoint, 0, 1);
      if (status.ok()) continue;
      while (i-- > 0) Put(sites_[i], sites_[i].before, 0, 1).IgnoreError();
      SynchronizeCores().IgnoreError();
      return status;
    }
    return SynchronizeCores();
  }

  absl::Status PutTails(Bytes bytes) {
    for (const Site& site : sites_) {
      absl::Status status = Put(site, site.*bytes, 1, kJumpSize - 1);
      if (!status.ok()) return status;
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

  // What cannot be written back keeps its int3, which leads to the stub.
  void RestoreFirst() {
    for (const Site& site : sites_) Put(site, site.before, 0, 1).IgnoreError();
    SynchronizeCores().IgnoreError();
  }

  // Whether any jump covers more than one instruction.
  bool HasInteriors() const {
    for (const Site& site : sites_) {
      const uint8_t* const moved = site.patch->moved;
      if (std::any_of(moved + 1, moved + kJumpSize,
                      [](uint8_t copy) { return copy != 0; })) {
        return true;
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
    if (!sites.empty() &&
        patch->address - sites.back().patch->address < kJumpSize) {
      return absl::FailedPreconditionError(absl::StrCat(
          "the entries at 0x", absl::Hex(sites.back().patch->address),
          " and 0x", absl::Hex(patch->address), " overlap"));
    }
    Site site{.patch = patch, .before = {}, .after = {}};
    std::memcpy(site.before, patch->original, kJumpSize);
    EncodeJump(*patch, site.after);
    if (!arm) std::swap(site.before, site.after);
    uint8_t now[kJumpSize];
    const size_t got = memory.Read(patch->address, now, kJumpSize);
    if (!arm &&
        (got != kJumpSize || std::memcmp(now, site.after, kJumpSize) == 0)) {
      patch->armed = false;  // the module is gone, or was loaded anew
      continue;
    }
    if (got != kJumpSize || std::memcmp(now, site.before, kJumpSize) != 0) {
      return Changed(*patch);
    }
    sites.push_back(site);
  }
  return sites;
}

}  // namespace

void EncodeJump(const EntryPatch& patch, uint8_t (&jump)[kJumpSize]) {
  const int32_t distance =
      static_cast<int32_t>(patch.stub - (patch.address + kJumpSize));
  jump[0] = 0xe9;
  std::memcpy(jump + 1, &distance, sizeof(distance));
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
    const OnlyTraps only_traps;
    Batch batch(*memory, *std::move(sites));
    status = alone ? batch.WriteAtOnce() : batch.WriteLive(arm);
  }
  if (!status.ok()) return status;
  for (EntryPatch* patch : changed) patch->armed = arm;
  return absl::OkStatus();
}

}  // namespace retprobe
