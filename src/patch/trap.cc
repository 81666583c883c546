// SPDX-License-Identifier: Apache-2.0
#include "patch/trap.h"

#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>

#include "arch/arch.h"
#include "patch/relocate.h"

namespace retprobe {
namespace {

constexpr size_t kFirstCapacity = 1024;  // a power of two

size_t Hash(uintptr_t address) {
  return static_cast<size_t>(address * 0x9e3779b97f4a7c15u >> 20);
}

// In words that handlers can read at any time: a mixture of two has the mask or
// the flags of the other.
struct {
  std::atomic<uintptr_t> handler{0};  // SIG_DFL
  std::atomic<uint64_t> mask{0};
  std::atomic<int> flags{0};
} constinit program_trap;

constexpr uintptr_t kDefault = 0;  // SIG_DFL
constexpr uintptr_t kIgnore = 1;   // SIG_IGN

// What our handler is chaining in this thread: the context, and the handler's
// own frame. A program's handler that chains back to ours comes with the same
// context from further down the stack; after a siglongjmp out of it, another
// trap may have its context at the same place, but our frame as well.
struct Chained {
  const void* context;
  const void* frame;
};
[[gnu::tls_model("initial-exec")]] thread_local Chained chained;

// Lets the kernel do what it does without a handler. The signal is blocked or
// its instruction passed; sending it again ends the process with a core.
void ResetAndRaise() {
  struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    unsigned long mask;
  } action = {SIG_DFL, 0, nullptr, 0};
  arch::SystemCall(SYS_rt_sigaction, SIGTRAP, reinterpret_cast<long>(&action),
                   0, 8);
  arch::SystemCall(SYS_tgkill, arch::SystemCall(SYS_getpid),
                   arch::SystemCall(SYS_gettid), SIGTRAP);
  unsigned long trap = 1ul << (SIGTRAP - 1);
  arch::SystemCall(SYS_rt_sigprocmask, SIG_UNBLOCK,
                   reinterpret_cast<long>(&trap), 0, 8);
}

void ChainTrap(int signal, siginfo_t* info, ucontext_t* context,
               const void* frame) {
  const ProgramTrap previous = LoadProgramTrap();
  const bool looping = chained.context == context && frame < chained.frame;
  const bool sent = info->si_code <= 0;
  if (looping || previous.handler == kDefault ||
      (previous.handler == kIgnore && !sent)) {
    // The kernel lets nobody ignore a trap of the processor.
    ResetAndRaise();
    return;
  }
  if (previous.handler == kIgnore) return;
  // The handler runs with the signals blocked that it asked for, not with
  // ours: all of them.
  unsigned long mask =
      *reinterpret_cast<unsigned long*>(&context->uc_sigmask) | previous.mask;
  if (!(previous.flags & SA_NODEFER)) mask |= 1ul << (SIGTRAP - 1);
  arch::SystemCall(SYS_rt_sigprocmask, SIG_SETMASK,
                   reinterpret_cast<long>(&mask), 0, 8);
  const Chained outer = chained;
  chained = {context, frame};
  // One that wants no more than the signal does not look at the others.
  reinterpret_cast<void (*)(int, siginfo_t*, void*)>(previous.handler)(
      signal, info, context);
  chained = outer;
}

// Where a thread goes on that ran into the int3 at `address`, or 0.
uintptr_t WayFrom(uintptr_t address) {
  if (const EntryPatch* patch = ArmedPatches().Find(address)) {
    return patch->stub;
  }
  for (uintptr_t offset = 1; offset < kJumpSize; ++offset) {
    const EntryPatch* patch = ArmedPatches().Find(address - offset);
    if (patch != nullptr && patch->TrapsAt(offset)) {
      return patch->stub + patch->moved[offset];
    }
  }
  return 0;
}

// Calls no function of the C library on its own path: those may be patched.
void HandleTrap(int signal, siginfo_t* info, void* data) {
  auto* context = static_cast<ucontext_t*>(data);
  greg_t& pc = context->uc_mcontext.gregs[REG_RIP];
  if (info->si_code == SI_KERNEL) {
    if (const uintptr_t way = WayFrom(static_cast<uintptr_t>(pc) - 1)) {
      pc = static_cast<greg_t>(way);
      return;
    }
  }
  ChainTrap(signal, info, context, __builtin_frame_address(0));
}

}  // namespace

struct PatchTable::Slots {
  explicit Slots(size_t size)
      : mask(size - 1), slots(new std::atomic<EntryPatch*>[size]()) {}
  const size_t mask;
  const std::unique_ptr<std::atomic<EntryPatch*>[]> slots;
};

void PatchTable::Grow(size_t capacity) {
  Slots* old = current_;
  auto* grown = new Slots(capacity);
  for (size_t i = 0; old != nullptr && i <= old->mask; ++i) {
    // Relaxed: only this thread stores.
    EntryPatch* patch = old->slots[i].load(std::memory_order_relaxed);
    if (patch == nullptr) continue;
    size_t slot = Hash(patch->address) & grown->mask;
    // Relaxed, both: published by R3.
    while (grown->slots[slot].load(std::memory_order_relaxed) != nullptr) {
      slot = (slot + 1) & grown->mask;
    }
    grown->slots[slot].store(patch, std::memory_order_relaxed);
  }
  // R3 -> A3: the filled table, and the patches that it names, before the
  // pointer to it: those slots were stored relaxed. The old one stays for
  // readers that still search it; all of them together are as big as the last.
  __atomic_store_n(&current_, grown, __ATOMIC_RELEASE);
}

void PatchTable::Reserve(size_t more) {
  const size_t now = current_ == nullptr ? 0 : current_->mask + 1;
  size_t capacity = std::max(now, kFirstCapacity);
  while (4 * (count_ + more) > 3 * capacity) capacity *= 2;
  if (capacity != now) Grow(capacity);
}

void PatchTable::Insert(EntryPatch* patch) {
  Reserve(1);
  size_t slot = Hash(patch->address) & current_->mask;
  for (;; slot = (slot + 1) & current_->mask) {
    // Relaxed: only this thread stores.
    EntryPatch* held = current_->slots[slot].load(std::memory_order_relaxed);
    if (held == nullptr) ++count_;
    if (held == nullptr || held->address == patch->address) break;
  }
  // R4 -> A4: the patch's content before the pointer to it.
  current_->slots[slot].store(patch, std::memory_order_release);
}

const EntryPatch* PatchTable::Find(uintptr_t address) const {
  // A3 <- R3: the table is filled, and its patches are complete.
  const Slots* table = __atomic_load_n(&current_, __ATOMIC_ACQUIRE);
  if (table == nullptr) return nullptr;
  for (size_t slot = Hash(address) & table->mask;;
       slot = (slot + 1) & table->mask) {
    // A4 <- R4: a patch put in since then is complete.
    const EntryPatch* patch =
        table->slots[slot].load(std::memory_order_acquire);
    if (patch == nullptr || patch->address == address) return patch;
  }
}

PatchTable& ArmedPatches() {
  // Constant-initialized and never destroyed: no guard, and traps may come
  // while the process exits.
  static constinit PatchTable table;
  static_assert(__has_trivial_destructor(PatchTable));
  return table;
}

struct sigaction TrapAction() {
  struct sigaction ours = {};
  ours.sa_sigaction = HandleTrap;
  // Everything blocked, so that no handler sees a frame whose pc lies behind an
  // int3; but for SIGTRAP itself: a program's handler that we chain to may call
  // a function whose entry is changing.
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART | SA_NODEFER;
  sigfillset(&ours.sa_mask);
  sigdelset(&ours.sa_mask, SIGTRAP);
  return ours;
}

ProgramTrap LoadProgramTrap() {
  ProgramTrap trap;
  // A2 <- R2: the mask and the flags are this handler's, or a later one's.
  trap.handler = program_trap.handler.load(std::memory_order_acquire);
  // Relaxed, both: see A2.
  trap.mask = program_trap.mask.load(std::memory_order_relaxed);
  trap.flags = program_trap.flags.load(std::memory_order_relaxed);
  return trap;
}

void StoreProgramTrap(const ProgramTrap& trap) {
  // Relaxed, both: see R2.
  program_trap.mask.store(trap.mask, std::memory_order_relaxed);
  program_trap.flags.store(trap.flags, std::memory_order_relaxed);
  // R2 -> A2: mask and flags before the handler that they belong to. Our
  // handler may be running already, by way of one that chains to it.
  program_trap.handler.store(trap.handler, std::memory_order_release);
}

ProgramTrap ProgramTrap::Of(const struct sigaction& action) {
  ProgramTrap trap;
  std::memcpy(&trap.handler, &action.sa_handler, sizeof(trap.handler));
  std::memcpy(&trap.mask, &action.sa_mask, sizeof(trap.mask));
  trap.flags = action.sa_flags;
  return trap;
}

void ProgramTrap::CopyTo(struct sigaction* action) const {
  std::memcpy(&action->sa_handler, &handler, sizeof(handler));
  std::memcpy(&action->sa_mask, &mask, sizeof(mask));
  action->sa_flags = flags;
}

absl::Status InstallTrapHandler() {
  struct sigaction now;
  if (sigaction(SIGTRAP, nullptr, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
      now.sa_sigaction == HandleTrap) {
    return absl::OkStatus();
  }
  StoreProgramTrap(ProgramTrap::Of(now));
  const struct sigaction ours = TrapAction();
  if (sigaction(SIGTRAP, &ours, nullptr) != 0) {
    return absl::ErrnoToStatus(errno, "cannot handle SIGTRAP");
  }
  return absl::OkStatus();
}

}  // namespace retprobe
