// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_H_
#define RETPROBE_RETHOOK_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "retprobe/context.h"
#include "retprobe/export.h"
#include "retprobe/handler.h"

namespace retprobe {

struct HookCore;

// The return half of a return probe, for those who own the other half: a
// framework that is called at functions' entries (mcount, XRay,
// -finstrument-functions, LD_AUDIT) and wants to know when they end. The names
// are the kernel's (kernel/trace/rethook.c).
//
//   auto rethook = Rethook::Create({.return_handler =
//                                       [](ReturnContext& context) noexcept {
//                                         ++returns;
//                                       }});
//   ...
//   // At a function's entry; `slot` is where its return address is.
//   void AtEntry(void** slot, void* function) {
//     if (Rethook::Instance* instance = (*rethook)->TryGet()) {
//       (*rethook)->Hook(instance, slot, function);
//     }
//   }
//
// Hook puts the address of a code slot that belongs to the instance in place of
// the return address. When the function returns there, the handler runs and the
// thread goes on where the function was to return to, with every register but
// flags as the function left it, or the handler. The slot's address alone says
// which activation this is: functions may recurse, call each other in tail
// position, and be resumed on other stacks and by other threads.
//
// Slots have unwind information. Exceptions, pthread_exit and cancellation pass
// through hooked frames and end them (EndReason::kUnwound); backtrace() sees
// the callers. Who walks frame pointers asks FindReturnAddress. longjmp ends
// the activations that it leaves (EndReason::kAbandoned): the first Rethook
// puts code in front of it, as the first ReturnProbe does. Where that cannot be
// (the code must not be written, or is that of another libc: the program's, to
// a library that LD_AUDIT names) they stay out: see FlushTask.
//
// A probed function's return is predicted, a hooked one's is not (the processor
// expects the old return address) unless the entry is made by HookCall. That is
// also what hardware shadow stacks (CET) want: where they are in force
// a changed return address ends the process, so Create refuses.
//
// Concurrency: everything but the destructor may be called from any threads at
// once. Every activation must end, or be flushed, before the process unmaps the
// stack that it is on; nothing must end before the destructor (see there).
class RETPROBE_API Rethook {
 public:
  // Where instances come from.
  enum class Storage : uint8_t {
    // A lock-free per-CPU pool that all such Rethooks with data of a similar
    // size share. It grows, and its memory stays for the next ones. Works
    // everywhere.
    kPool,

    // An array for each thread, used as a stack (as the kernel's function-graph
    // tracer). A thread's first TryGet maps it, and is therefore not
    // async-signal-safe; at most 8 such Rethooks at a time. What a fiber keeps
    // while others run leaves a hole: entries below it are not used again
    // before those above are done. Not for fibers that are switched in signal
    // handlers. A thread that ends with activations out keeps its array.
    kShadowStack,

    // malloc and free for each activation. Not for functions that are called in
    // signal handlers, nor for malloc itself.
    kMalloc,
  };

  struct Options {
    // Runs when a hooked activation ends, in the thread in which it does, also
    // in signal handlers, and as ReturnProbeOptions says of return handlers.
    // ReturnContext::function() is what Hook was told, argument() is always 0.
    // Required.
    ReturnHandler return_handler;

    // Bytes of per-activation user data, 0 .. 4096.
    size_t data_size = 0;

    // Activations hooked at once; further ones count as Missed::empty. 0: as
    // many as memory allows, in all Rethooks together at most 2^21. With
    // kShadowStack: of each thread, 0 stands for 64.
    int maxactive = 0;

    Storage storage = Storage::kPool;

    // As ReturnProbeOptions::handlers_leave_vectors_alone, but without it all
    // vector state is kept around the handler.
    bool handler_leaves_vectors_alone = false;
  };

  // One activation's, from TryGet until it ends. Opaque.
  using Instance = ReturnInstance;

  // Errors: kInvalidArgument, an option is out of range, or there is no return
  //   handler; kFailedPrecondition, this thread has a hardware shadow stack;
  //   kResourceExhausted, no memory, no address space (256 MiB are reserved,
  //   once), or too many Rethooks with shadow stacks; kUnavailable, the code
  //   slots cannot be loaded (they are an ELF module of their own, so that
  //   every unwinder finds them: needs memfd_create, /proc and dlopen).
  // Not async-signal-safe.
  static absl::StatusOr<std::unique_ptr<Rethook>> Create(Options options);

  Rethook(const Rethook&) = delete;
  Rethook& operator=(const Rethook&) = delete;

  // Stops, and forgets. Activations may still be out, for ever if need be: they
  // return as if unhooked, and what is left of the Rethook is freed when the
  // last has come home.
  // Requires: no other call of a member under way, and no instance that was
  //   taken and neither hooked nor recycled.
  ~Rethook();

  // Takes an instance; null when the activation cannot be hooked, which is
  // counted in nmissed(). It must be given to Hook, HookCall or Recycle, by
  // whichever thread.
  // Progress: kPool: as ObjPool::Pop. Signals: kPool: async-signal-safe.
  [[nodiscard]] Instance* TryGet() noexcept;

  // The `data_size` bytes of an instance, aligned to 16, undefined until
  // written: those that the handler sees as ReturnContext::data().
  static void* Data(Instance* instance) noexcept;

  // Hooks the return of a function that is just being entered: `return_address`
  // is the place where its return address is. `function` is for the handler.
  // Requires: the stack pointer had been `return_address` + 8 before the call
  //   that entered the function; nobody has hooked this activation with the
  //   same instance.
  // Progress: wait-free. Signals: async-signal-safe.
  void Hook(Instance* instance, void** return_address,
            void* function = nullptr) noexcept;

  // The same for entries in assembly that can jump, with both returns
  // predicted: changes nothing at `return_address`, and returns where to jump
  // to, with r11 the address at which to go on in the function, and the stack
  // pointer 8 *above* the return address, as if it had been popped. That code
  // calls r11.
  void* HookCall(Instance* instance, void** return_address,
                 void* function = nullptr) noexcept;

  // Gives an instance back that was not hooked.
  void Recycle(Instance* instance) noexcept;

  // Where code at `address` really is to return to: `address`, unless that is
  // in a slot; then the return address of the slot's activation, or, when a
  // chain of tail calls was hooked, of the outermost. For unwinders that read
  // return addresses off the stack. Null: a slot of no activation.
  // Signals: async-signal-safe.
  static void* FindReturnAddress(void* address) noexcept;

  // Names a thread for FlushTask. Never used again, unlike thread ids.
  // Signals: async-signal-safe.
  using Task = uint64_t;
  static Task CurrentTask() noexcept;

  // Ends all activations that `task` hooked here and that are still out, with
  // EndReason::kAbandoned: for a thread that is gone, or will not return from
  // any of them. Returns how many.
  // Requires: none of them ends otherwise, now or later; a function that did
  //   return would end the process.
  // Takes time in proportion to the instances there are. Signals: kPool and
  // kShadowStack: async-signal-safe.
  size_t FlushTask(Task task) noexcept;

  // No TryGet succeeds from now on, and no handler runs once this has returned;
  // it waits for those that are running (except its caller's own), not for
  // hooked functions. Not async-signal-safe.
  void Stop() noexcept;

  // Activations that were not hooked, by reason.
  struct Missed {
    uint64_t empty = 0;      // no instance was to be had
    uint64_t recursion = 0;  // called from within a handler
    uint64_t stopped = 0;
    uint64_t total() const { return empty + recursion + stopped; }
  };
  Missed nmissed() const noexcept;

  // Instances out: taken, and neither recycled nor come home. Exact while
  // nobody takes or ends one. Takes time as FlushTask.
  size_t in_use() const noexcept;

 private:
  Rethook(ReturnHandler handler, HookCore* core) noexcept;

  ReturnHandler handler_;
  HookCore* core_;
};

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_H_
