// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETHOOK_INSTANCE_H_
#define RETPROBE_RETHOOK_INSTANCE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "arch/arch.h"
#include "retprobe/context.h"

// The structures that one probed call touches, outermost first: Site (one per
// patched function) -> HandlerList (an immutable snapshot of who wants to know)
// -> ReturnInstance (one per activation, an object of the pool).
namespace retprobe {

struct HandlerList;
struct CallChecks;
struct SlotRecord;

// The life of one probe as the hot path sees it. Freed only when no instance
// refers to a list that names it.
struct ProbeState {
  // Set by Detach before its barrier; checked after `ReturnInstance::running`
  // is published, so that after the barrier either the handler does not run or
  // Detach sees it running.
  std::atomic<bool> dead{false};   // offset 0, for the trampoline
  bool stops_at_max_hits = false;  // rather than counting in missed_limit
  int32_t maxactive = 0;           // 0: no limit
  std::atomic<int32_t> active{0};
  uint32_t max_depth = 0;                 // 0: no limit
  std::atomic<uint64_t> missed_empty{0};  // beyond maxactive
  std::atomic<uint64_t> missed_depth{0};
  uint64_t max_hits = 0;          // 0: no limit, and hits are not counted
  std::atomic<uint64_t> hits{0};  // at least max_hits: it is used up
  std::atomic<uint64_t> missed_limit{0};
  uint32_t number = 0;     // of its DepthAccounts
  uint32_t data_size = 0;  // bytes that an activation has for the handlers

  bool used_up() const {
    // relaxed: a count.
    return max_hits != 0 && hits.load(std::memory_order_relaxed) >= max_hits;
  }
};

// What there is to count at the entry for one handler, before it runs.
enum Limit : uint32_t {
  kLimitActive = 1,
  kLimitDepth = 2,
  kLimitHits = 4,
};

struct Handler {
  ProbeState* probe;
  bool (*entry)(void* user, EntryContext& context);  // may be null
  void (*ret)(void* user, ReturnContext& context);   // may be null
  void* entry_user;
  void* return_user;
  // Of this probe's data behind ReturnInstance. With kLimitDepth the account
  // lies in the 16 bytes before.
  uint32_t data_offset;
  uint32_t limits;           // Limit
  const CallChecks* checks;  // null: every call passes
};

// Per function, written at set-up only, except for the counters of what went
// wrong. Stubs jump through the first word.
// `list` is never null: kNoList stands for nobody.
struct Site {
  // Where the stub goes: retprobe_entry, or `bypass` while nobody listens.
  std::atomic<const void*> entry;
  std::atomic<HandlerList*> list;
  const void* bypass;  // restores rax from -24(%rsp), then runs the body
  std::atomic<uint64_t> missed_empty;
  std::atomic<uint64_t> missed_recursion;
  std::atomic<uint64_t> missed_dying;
  const void* function;
};
static_assert(offsetof(Site, entry) == 0);
static_assert(offsetof(Site, list) == RETPROBE_SITE_LIST);
static_assert(offsetof(Site, bypass) == RETPROBE_SITE_BYPASS);
static_assert(offsetof(Site, missed_recursion) ==
              RETPROBE_SITE_MISSED_RECURSION);

// Who listens at a site. Immutable once published in Site::list; an activation
// keeps the list it was entered with, so that no handler gets a return without
// its entry. Never freed while an instance's `list` names it.
struct HandlerList {
  void* magazines;   // of the pool whose objects are large enough
  const void* body;  // the function without its patch
  uint32_t flags;    // RETPROBE_FLAG_*
  uint16_t count;
  uint16_t saved_arguments;
  Site* site;
  const void* entry_path;  // of retprobe_entry_paths, for all its handlers
  const void* return_path;
  Handler handlers[];
};
static_assert(offsetof(HandlerList, magazines) == RETPROBE_LIST_MAGAZINES);
static_assert(offsetof(HandlerList, body) == RETPROBE_LIST_BODY);
static_assert(offsetof(HandlerList, flags) == RETPROBE_LIST_FLAGS);
static_assert(offsetof(HandlerList, entry_path) == RETPROBE_LIST_ENTRY_PATH);
static_assert(offsetof(HandlerList, return_path) == RETPROBE_LIST_RETURN_PATH);
static_assert(offsetof(HandlerList, handlers) + offsetof(Handler, probe) ==
              RETPROBE_LIST_PROBE);
static_assert(offsetof(HandlerList, handlers) + offsetof(Handler, entry) ==
              RETPROBE_LIST_ENTRY_HANDLER);
static_assert(offsetof(HandlerList, handlers) + offsetof(Handler, ret) ==
              RETPROBE_LIST_RETURN_HANDLER);
static_assert(offsetof(HandlerList, handlers) + offsetof(Handler, entry_user) ==
              RETPROBE_LIST_ENTRY_USER);
static_assert(offsetof(HandlerList, handlers) +
                  offsetof(Handler, return_user) ==
              RETPROBE_LIST_RETURN_USER);

// The list of a site that nobody listens at: its magazines are no CPU's, which
// sends whoever comes to the slow path.
extern HandlerList* const kNoList;

// Most handlers on one function: the bits of ReturnInstance::accepted.
inline constexpr uint32_t kMaxHandlers = 64;

struct ReturnInstance {
  // Where the activation returns to, and what rbx was: the trampoline keeps the
  // instance in rbx while the body runs.
  uint64_t return_address;
  union {
    uint64_t saved_rbx;
    SlotRecord* slot;  // of a Rethook's instance
  };
  union {
    const void* body;
    const void* function;  // of a Rethook's instance: what Hook was told
  };
  uint64_t frame;  // the stack pointer at entry: 8 below the caller's

  // Non-null while the instance is out: what the reclaimer looks for. Set
  // inside the critical section that takes the instance, cleared inside the one
  // that gives it back. Either may be left before its last instruction, for
  // good: an idle instance may name a list, which only keeps the list longer.
  std::atomic<HandlerList*> list;

  // The probe whose handler is running on this instance now, for Detach.
  std::atomic<ProbeState*> running;

  uint64_t accepted;  // bit i: handler i wants the return; if FLAG_ENTRY
  uint64_t arguments[6];

  // Once the frame has been left otherwise than by a return; see
  // rethook/left_frame.h.
  void* magazines;   // if RETPROBE_STATE_PUSHING: where it belongs
  uint32_t told;     // 1: `accepted` says who is still to be told; else 0
  uint32_t left_in;  // RETPROBE_STATE_*
  ReturnInstance* further_out;  // the next of a chain
  // Handlers' data follows.
};
static_assert(sizeof(ReturnInstance) == RETPROBE_INSTANCE_DATA);
static_assert(offsetof(ReturnInstance, running) == RETPROBE_INSTANCE_RUNNING);
static_assert(offsetof(ReturnInstance, return_address) ==
              RETPROBE_INSTANCE_RETURN_ADDRESS);
static_assert(offsetof(ReturnInstance, saved_rbx) == RETPROBE_INSTANCE_RBX);
static_assert(offsetof(ReturnInstance, body) == RETPROBE_INSTANCE_BODY);
static_assert(offsetof(ReturnInstance, frame) == RETPROBE_INSTANCE_FRAME);
static_assert(offsetof(ReturnInstance, list) == RETPROBE_INSTANCE_LIST);
static_assert(offsetof(ReturnInstance, accepted) == RETPROBE_INSTANCE_ACCEPTED);
static_assert(offsetof(ReturnInstance, told) == RETPROBE_INSTANCE_TOLD);

// The registers around a handler, in the order in which the trampoline pushes
// them. Handlers change the function's arguments and results here.
struct RegisterFrame {
  void* vectors;  // from vector register 0; null: not saved
  uint64_t r11, r10, r9, r8, rdi;
  uint64_t vector_stride;  // bytes from one register to the next
  uint64_t rsi, rdx, rcx, rax;
  uint64_t rbx, rbp;
  uint64_t return_address;
  uint64_t stack[];  // at entry: the arguments that did not fit registers
};
static_assert(offsetof(RegisterFrame, vectors) == RETPROBE_FRAME_VECTORS);
static_assert(offsetof(RegisterFrame, r9) == RETPROBE_FRAME_R9);
static_assert(offsetof(RegisterFrame, r8) == RETPROBE_FRAME_R8);
static_assert(offsetof(RegisterFrame, rdi) == RETPROBE_FRAME_RDI);
static_assert(offsetof(RegisterFrame, vector_stride) ==
              RETPROBE_FRAME_VECTOR_STRIDE);
static_assert(offsetof(RegisterFrame, return_address) ==
              RETPROBE_FRAME_RETURN_ADDRESS);

// The only way to make contexts; the trampoline builds them too, in this order.
struct ContextAccess {
  static_assert(offsetof(EntryContext, frame_) == 8 &&
                offsetof(EntryContext, data_) == 16);
  static_assert(offsetof(ReturnContext, frame_) == 8 &&
                offsetof(ReturnContext, data_) == 16 &&
                offsetof(ReturnContext, reason_) == 24);
  static_assert(static_cast<int>(EndReason::kReturned) == 0);

  static EntryContext Entry(ReturnInstance* instance, RegisterFrame* frame,
                            void* data) {
    EntryContext context;
    context.instance_ = instance;
    context.frame_ = frame;
    context.data_ = data;
    return context;
  }
  static ReturnContext Return(ReturnInstance* instance, RegisterFrame* frame,
                              void* data, EndReason reason) {
    ReturnContext context;
    context.instance_ = instance;
    context.frame_ = frame;
    context.data_ = data;
    context.reason_ = reason;
    return context;
  }
};

}  // namespace retprobe

#endif  // RETPROBE_RETHOOK_INSTANCE_H_
