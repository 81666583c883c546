// SPDX-License-Identifier: Apache-2.0
#include "probe/trap_guard.h"

#include <dlfcn.h>
#include <signal.h>

#include <utility>

#include "patch/trap.h"

namespace retprobe {
namespace {

constexpr uint64_t kTrapBit = uint64_t{1} << (SIGTRAP - 1);

// The first word of a set has the signals up to 64: all there are. Not by
// sigdelset and the like, which may be probed themselves.
uint64_t& Word(sigset_t* set) { return *reinterpret_cast<uint64_t*>(set); }
uint64_t Word(const sigset_t* set) {
  return *reinterpret_cast<const uint64_t*>(set);
}

template <typename T>
T* Pointer(uint64_t argument) {
  return reinterpret_cast<T*>(argument);
}

// sigaction(signal, fresh, old)

struct ActionCall {
  struct sigaction fresh;  // what the kernel gets instead
  ProgramTrap old;
};

bool EnterSigaction(EntryContext& context) noexcept {
  const bool trap = static_cast<int>(context.argument(0)) == SIGTRAP;
  const auto* fresh = Pointer<const struct sigaction>(context.argument(1));
  auto* call = static_cast<ActionCall*>(context.data());
  call->old = LoadProgramTrap();
  if (fresh == nullptr) return trap;
  call->fresh = *fresh;
  if (trap) {
    StoreProgramTrap(ProgramTrap::Of(*fresh));
    call->fresh = TrapAction();
  } else {
    Word(&call->fresh.sa_mask) &= ~kTrapBit;
  }
  context.set_argument(1, reinterpret_cast<uint64_t>(&call->fresh));
  return true;
}

void LeaveSigaction(ReturnContext& context) noexcept {
  auto* old = Pointer<struct sigaction>(context.argument(2));
  if (static_cast<int>(context.argument(0)) != SIGTRAP || old == nullptr ||
      static_cast<int>(context.result()) != 0) {
    return;
  }
  static_cast<ActionCall*>(context.data())->old.CopyTo(old);
}

// pthread_sigmask(how, fresh, old)

// Whether the program has SIGTRAP blocked in this thread, as it thinks.
[[gnu::tls_model("initial-exec")]] constinit thread_local bool trap_blocked =
    false;

struct MaskCall {
  sigset_t fresh;
  bool before;
  bool after;
};

bool EnterSigmask(EntryContext& context) noexcept {
  const auto* fresh = Pointer<const sigset_t>(context.argument(1));
  auto* call = static_cast<MaskCall*>(context.data());
  call->before = trap_blocked;
  call->after = trap_blocked;
  if (fresh == nullptr) return call->before;
  const bool named = (Word(fresh) & kTrapBit) != 0;
  switch (static_cast<int>(context.argument(0))) {
    case SIG_BLOCK:
      call->after = call->before || named;
      break;
    case SIG_UNBLOCK:
      call->after = call->before && !named;
      return call->before;
    case SIG_SETMASK:
      call->after = named;
      break;
    default:
      return false;
  }
  call->fresh = *fresh;
  Word(&call->fresh) &= ~kTrapBit;
  context.set_argument(1, reinterpret_cast<uint64_t>(&call->fresh));
  return true;
}

void LeaveSigmask(ReturnContext& context) noexcept {
  if (static_cast<int>(context.result()) != 0) return;
  auto* call = static_cast<MaskCall*>(context.data());
  trap_blocked = call->after;
  auto* old = Pointer<sigset_t>(context.argument(2));
  if (old != nullptr && call->before) Word(old) |= kTrapBit;
}

ReturnProbe::Request Guard(const char* name, EntryHandler enter,
                           ReturnHandler leave, size_t data_size) {
  ReturnProbe::Request request = {dlsym(RTLD_DEFAULT, name), {}};
  request.options.entry_handler = std::move(enter);
  request.options.return_handler = std::move(leave);
  request.options.data_size = data_size;
  request.options.saved_arguments = 3;
  return request;
}

}  // namespace

std::vector<ReturnProbe::Request> TrapGuards() {
  std::vector<ReturnProbe::Request> guards;
  guards.push_back(Guard(
      "sigaction",
      [](EntryContext& context) noexcept { return EnterSigaction(context); },
      [](ReturnContext& context) noexcept { LeaveSigaction(context); },
      sizeof(ActionCall)));
  guards.push_back(Guard(
      "pthread_sigmask",
      [](EntryContext& context) noexcept { return EnterSigmask(context); },
      [](ReturnContext& context) noexcept { LeaveSigmask(context); },
      sizeof(MaskCall)));
  return guards;
}

void UnblockTrapInHandlers() {
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action;
    if (signal == SIGTRAP || sigaction(signal, nullptr, &action) != 0 ||
        action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN ||
        (Word(&action.sa_mask) & kTrapBit) == 0) {
      continue;
    }
    Word(&action.sa_mask) &= ~kTrapBit;
    sigaction(signal, &action, nullptr);
  }
}

}  // namespace retprobe
