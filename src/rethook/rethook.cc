// SPDX-License-Identifier: Apache-2.0
#include "retprobe/rethook.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/cpu.h"
#include "base/membarrier.h"
#include "objpool/magazine.h"
#include "rethook/hooked.h"
#include "rethook/prepare.h"
#include "rethook/shadow_stack.h"
#include "rethook/trampoline.h"
#include "retprobe/objpool.h"

namespace retprobe {
namespace {

// Where slots go on when the handler may change any vector register that this
// machine has. Requires: PrepareTrampoline was called.
const void* KeepsAllVectors() {
  constexpr void (*kByLevel[])() = {
      retprobe_hooked_return_sse, retprobe_hooked_return_avx,
      retprobe_hooked_return_all_f, retprobe_hooked_return_all};
  return reinterpret_cast<const void*>(kByLevel[retprobe_vector_level]);
}

constexpr size_t kMaxData = 4096;
constexpr int kDefaultDepth = 64;
constexpr int kMaxDepth = 1 << 20;

// The pools of Storage::kPool, by size of data, made when first wanted. They
// live as long as the process: a thread that has pushed an instance may still
// be in the pool's code when everybody else is done with it.
class HookPools {
 public:
  static HookPools& Get() {
    static HookPools* const pools = new HookPools;
    return *pools;
  }

  absl::StatusOr<ObjPool*> ForDataSize(size_t data_size) {
    const std::lock_guard lock(mutex_);
    const auto* size =
        std::lower_bound(kClasses.begin(), kClasses.end(), data_size);
    std::unique_ptr<ObjPool>& pool = pools_[size - kClasses.begin()];
    if (pool == nullptr) {
      absl::StatusOr<std::unique_ptr<ObjPool>> made = Make(*size);
      if (!made.ok()) return made.status();
      pool = *std::move(made);
    }
    return pool.get();
  }

 private:
  static constexpr std::array<size_t, 5> kClasses = {0, 64, 256, 1024,
                                                     kMaxData};
  // Address space, not memory, until they are used.
  static constexpr size_t kMaxBytes = size_t{1} << 30;
  static constexpr size_t kInstancesPerCpu = 64;

  static absl::StatusOr<std::unique_ptr<ObjPool>> Make(size_t data_size) {
    ObjPool::Options options;
    options.object_size = sizeof(ReturnInstance) + data_size;
    options.max_objects =
        std::min(SlotSpace::kSlots, kMaxBytes / options.object_size);
    options.object_count =
        std::min(options.max_objects,
                 kInstancesPerCpu * static_cast<size_t>(PossibleCpus()));
    options.magazine_capacity = RETPROBE_MAGAZINE_SLOTS;
    options.init = [](void* place, void*) {
      MakeInstance(::new (place) ReturnInstance());
    };
    return ObjPool::Create(options);
  }

  std::mutex mutex_;
  std::array<std::unique_ptr<ObjPool>, kClasses.size()> pools_;
};

ReturnInstance* TakeFromHeap(const HookCore& core) {
  void* memory = std::malloc(core.stride);
  if (memory == nullptr) return nullptr;
  auto* instance = ::new (memory) ReturnInstance();
  if (MakeInstance(instance)) return instance;
  std::free(memory);
  return nullptr;
}

void GiveToHeap(ReturnInstance* instance) {
  GiveSlot(instance->slot);
  std::free(instance);
}

absl::Status CheckOptions(const Rethook::Options& options) {
  if (!options.return_handler) {
    return absl::InvalidArgumentError("Rethook: no return_handler");
  }
  if (options.data_size > kMaxData) {
    return absl::InvalidArgumentError(
        absl::StrCat("Rethook: data_size is ", options.data_size, "; 0 .. ",
                     kMaxData, " bytes are possible"));
  }
  const bool stacks = options.storage == Rethook::Storage::kShadowStack;
  const int most = stacks ? kMaxDepth : static_cast<int>(SlotSpace::kSlots);
  if (options.maxactive < 0 || options.maxactive > most) {
    return absl::InvalidArgumentError(absl::StrCat("Rethook: maxactive is ",
                                                   options.maxactive, "; 0 .. ",
                                                   most, " are possible"));
  }
  if (arch::HasShadowStack()) {
    return absl::FailedPreconditionError(
        "Rethook: this thread has a hardware shadow stack, on which return "
        "addresses cannot be changed; use ReturnProbe, or start the program "
        "with GLIBC_TUNABLES=glibc.cpu.hwcaps=-SHSTK");
  }
  return absl::OkStatus();
}

// Completes a core for its storage.
absl::Status Furnish(const Rethook::Options& options, HookCore& core) {
  core.stride = (sizeof(ReturnInstance) + options.data_size + 63) & ~size_t{63};
  switch (options.storage) {
    case Rethook::Storage::kPool: {
      core.storage = HookStorage::kPool;
      absl::StatusOr<ObjPool*> pool =
          HookPools::Get().ForDataSize(options.data_size);
      if (!pool.ok()) return pool.status();
      core.magazines = (*pool)->magazines();
      return absl::OkStatus();
    }
    case Rethook::Storage::kShadowStack: {
      core.storage = HookStorage::kShadowStack;
      core.depth = static_cast<uint32_t>(
          options.maxactive != 0 ? options.maxactive : kDefaultDepth);
      core.maxactive = 0;
      const int index = ReserveStacks();
      if (index >= 0) {
        core.stack_index = static_cast<uint32_t>(index);
        return absl::OkStatus();
      }
      return absl::ResourceExhaustedError(
          absl::StrCat("Rethook: ", kShadowStacks,
                       " have shadow stacks already, which is all a thread has "
                       "places for"));
    }
    case Rethook::Storage::kMalloc:
      core.storage = HookStorage::kMalloc;
      core.take = TakeFromHeap;
      core.give = GiveToHeap;
      // free() may change vector registers.
      core.code = KeepsAllVectors();
      return absl::OkStatus();
  }
  return absl::InvalidArgumentError("Rethook: storage is none of Storage");
}

HookCore* NewCore() {
  void* memory = mmap(nullptr, sizeof(HookCore), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : ::new (memory) HookCore();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Rethook>> Rethook::Create(Options options) {
  absl::Status status = CheckOptions(options);
  if (status.ok()) status = PrepareTrampoline();
  if (status.ok()) status = PrepareSlots();
  if (!status.ok()) return status;
  GuardProcess();
  HookCore* core = NewCore();
  if (core == nullptr)
    return absl::ResourceExhaustedError("Rethook: no memory");
  static std::atomic<uint64_t> serials{0};
  // relaxed: a number
  core->serial = serials.fetch_add(1, std::memory_order_relaxed) + 1;
  core->code = options.handler_leaves_vectors_alone
                   ? reinterpret_cast<const void*>(&retprobe_hooked_return_bare)
                   : KeepsAllVectors();
  core->maxactive = options.maxactive;
  status = Furnish(options, *core);
  if (!status.ok()) {
    FreeCore(*core);
    return status;
  }
  return std::unique_ptr<Rethook>(
      new Rethook(std::move(options.return_handler), core));
}

Rethook::Rethook(ReturnHandler handler, HookCore* core) noexcept
    : handler_(std::move(handler)), core_(core) {
  core->handler = handler_.invoke();
  core->user = handler_.user();
}

void Rethook::Stop() noexcept {
  // relaxed: the membarrier orders it
  core_->dead.store(true, std::memory_order_relaxed);
  // S11 <-> S10 (hooked.cc), S12 (hooked.cc): whoever does not see `dead` is
  // seen below, or in ~Rethook. Where the kernel does not let us any more,
  // threads are given time instead.
  if (!IssueMembarrier(Membarrier::kMemory)) usleep(100000);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  ForEachRecord([this](SlotRecord& record) {
    // A16 <- R12 (hooked.cc): what the handler did is done.
    while (record.running.load(std::memory_order_acquire) == core_ &&
           !IsOwnHandler(record)) {
      sched_yield();
    }
  });
}

Rethook::~Rethook() {
  Stop();
  // From here on whoever ends sees `dead`, and exchanges `owner`.
  ForEachRecord([this](SlotRecord& record) {
    if (!IsOf(record, *core_)) return;
    // relaxed: we have a reference ourselves
    core_->remaining.fetch_add(1, std::memory_order_relaxed);
    auto owner = reinterpret_cast<uintptr_t>(core_);
    // R14 -> A14 (hooked.cc): it is counted, and is to count itself off.
    // A15 <- R11 (hooked.cc), R17 (hooked.cc): it has ended, and used the core.
    if (!record.owner.compare_exchange_strong(
            owner, owner | SlotRecord::kCounted, std::memory_order_release,
            std::memory_order_acquire)) {
      // relaxed: as above
      core_->remaining.fetch_sub(1, std::memory_order_relaxed);
    }
  });
  if (core_->storage == HookStorage::kShadowStack) {
    ReleaseStacks(static_cast<int>(core_->stack_index));
    SweepStacks();
  }
  // R19/A19 -> A18 (hooked.cc) <- R18 (hooked.cc): nobody uses the core any
  // more.
  if (core_->remaining.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    FreeCore(*core_);
  }
}

Rethook::Instance* Rethook::TryGet() noexcept { return TakeHook(*core_); }

void* Rethook::Data(Instance* instance) noexcept { return instance + 1; }

void Rethook::Hook(Instance* instance, void** return_address,
                   void* function) noexcept {
  retprobe::Hook(*core_, instance, return_address, function);
}

void* Rethook::HookCall(Instance* instance, void** return_address,
                        void* function) noexcept {
  return retprobe::HookCall(*core_, instance, return_address, function);
}

void Rethook::Recycle(Instance* instance) noexcept {
  retprobe::Recycle(*core_, instance);
}

void* Rethook::FindReturnAddress(void* address) noexcept {
  return retprobe::FindReturnAddress(address);
}

Rethook::Task Rethook::CurrentTask() noexcept {
  return retprobe::CurrentTask();
}

size_t Rethook::FlushTask(Task task) noexcept {
  return retprobe::FlushTask(*core_, task);
}

Rethook::Missed Rethook::nmissed() const noexcept {
  // relaxed, all: statistics
  return {core_->missed_empty.load(std::memory_order_relaxed),
          core_->missed_recursion.load(std::memory_order_relaxed),
          core_->missed_stopped.load(std::memory_order_relaxed)};
}

size_t Rethook::in_use() const noexcept {
  size_t count = 0;
  ForEachRecord([&](SlotRecord& record) { count += IsOf(record, *core_); });
  return count;
}

}  // namespace retprobe
