// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_RETURN_PROBE_H_
#define RETPROBE_RETURN_PROBE_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "retprobe/call_filter.h"
#include "retprobe/context.h"
#include "retprobe/export.h"
#include "retprobe/handler.h"

namespace retprobe {

// Activations that were not probed, by reason.
struct Missed {
  uint64_t empty = 0;      // no instance was to be had (maxactive, memory)
  uint64_t recursion = 0;  // called from within a handler
  uint64_t dying = 0;      // the probe was being detached
  uint64_t depth = 0;      // deeper than max_depth
  uint64_t limit = 0;      // after max_hits
  uint64_t total() const { return empty + recursion + dying + depth + limit; }
};

struct ReturnProbeOptions {
  // Either may be empty. Handlers run in the thread that made the call, also
  // in signal handlers, and concurrently: they must be async-signal-safe as
  // far as the probed function is called from signal handlers. Probed
  // functions that a handler calls run unprobed and count as
  // Missed::recursion. A handler that longjmp leaves has not accepted the
  // activation, or has heard of its end; the others that accepted it are told
  // that it was abandoned. An exception that leaves a handler ends the process,
  // and as handlers are noexcept so may a cancellation. Handlers must leave MMX
  // and the x87 stack as they were.
  EntryHandler entry_handler;
  ReturnHandler return_handler;

  // Bytes of per-activation user data, any number up to the configuration's
  // probe.data_size_limit. All probes of a function share an instance, which
  // has room for up to 1 GiB - 4,096 bytes; its memory is used where it is
  // written to.
  size_t data_size = 0;

  // Activations probed at once; further ones count as Missed::empty.
  // 0: probe.maxactive of the configuration; and when that is 0 too, as many
  // as there are (a pool shared by all such probes, which grows).
  int maxactive = 0;

  // Which calls the probe is for. Before the entry handler, and before any of
  // the limits.
  CallFilter filter;

  // Activations of this probe that a thread may have under way, 1 .. 65535:
  // deeper recursion counts as Missed::depth. An activation belongs to the
  // thread that it began in, also when a fiber takes it to another. 0: no
  // limit.
  int max_depth = 0;

  // Activations that the probe is for in all, also those that the entry handler
  // declines. Further calls count as Missed::limit; or, with stop_at_max_hits,
  // it is as if Disable had been called (calls still take the way through the
  // trampoline until the function's probes change), and Enable begins anew.
  // 0: no limit.
  uint64_t max_hits = 0;
  bool stop_at_max_hits = false;

  // How many of the six integer argument registers ReturnContext::argument
  // can tell, 0 .. 6.
  int saved_arguments = 0;

  // Promise that neither handler, nor what it calls, changes a vector register
  // (for instance because it is compiled with -mgeneral-regs-only). Without it
  // the handlers' code is read at attachment, and what they may change is kept
  // around them: everything as soon as they call what cannot be followed, as
  // through a pointer, or into another library before the call is bound (link
  // with -z now). The promise saves that; broken, it corrupts the program.
  bool handlers_leave_vectors_alone = false;

  // Whether the probe is live from the start.
  bool enabled = true;
};

// What is known of an attached probe.
struct ProbeInfo {
  enum class State : uint8_t {
    kEnabled,
    kDisabled,
    kUsedUp,  // it has stopped itself at max_hits
  };
  void* function = nullptr;
  State state = State::kEnabled;
  size_t probes_on_function = 0;  // attached ones, this one too
  // Activations of the function that are under way with probes, also such as
  // are detached by now.
  size_t under_way = 0;
  std::optional<uint64_t> hits;  // counted only with max_hits
  Missed missed;                 // since it was attached

  // As it was attached.
  uint64_t max_hits = 0;
  int max_depth = 0;
  int maxactive = 0;
  size_t data_size = 0;
  bool filtered = false;
  bool entry_only = false;  // as ReturnProbe::entry_only
  bool uses_trap = false;   // as ReturnProbe::uses_trap
};

// A probe on one function: handlers run when it is entered and when it
// returns. Detached by the destructor. Several probes may share a function;
// entry handlers run in the order of attachment, return handlers in reverse.
//
// Concurrency: members may be called from any thread at once, but no two of
// them on the same ReturnProbe object. Not async-signal-safe.
class RETPROBE_API ReturnProbe {
 public:
  // Probes the function that begins at `function`.
  //
  // Errors: kInvalidArgument, an option out of range, or the configuration is
  //   wrong (retprobe/config.h); kFailedPrecondition, the function cannot be
  //   probed, with the reason, or only at its entry and there is no entry
  //   handler; kResourceExhausted, no memory within reach of the function;
  //   kPermissionDenied, the code cannot be written; kUnavailable, another
  //   thread is in the way of changing the function's first bytes: it runs with
  //   SIGTRAP blocked, or cannot be moved out of them, for seconds on end. On
  //   error nothing has changed.
  static absl::StatusOr<ReturnProbe> Attach(void* function,
                                            ReturnProbeOptions options);

  // Probes `symbol`: "function" or "module:function", where the module is a
  // file name ("libc.so.6") and the function a mangled or demangled name.
  // Indirect functions are resolved to what this process runs. "+0x4" may
  // follow where that is the entry, behind an endbr64.
  //
  // Errors: also kNotFound, with the nearest name; kInvalidArgument,
  //   the name stands for several functions, which are listed.
  static absl::StatusOr<ReturnProbe> Attach(absl::string_view symbol,
                                            ReturnProbeOptions options);

  struct Request {
    void* function;
    ReturnProbeOptions options;
  };

  // Probes many functions at the price of few: other threads are synchronized
  // once for all. One result for each request, in order.
  static std::vector<absl::StatusOr<ReturnProbe>> AttachAll(
      absl::Span<Request> requests);

  ReturnProbe(ReturnProbe&&) noexcept;
  ReturnProbe& operator=(ReturnProbe&&) noexcept;
  ~ReturnProbe();

  // While disabled the handlers do not run; activations already under way
  // still end with their return handler, and an entry handler that was about
  // to run when Disable was called may still do so after it.
  void Enable();
  void Disable();
  bool enabled() const;

  // No handler runs once this has returned; it waits for those that are
  // running (except its caller's own), not for the probed functions
  // themselves. The handlers have been destroyed then, with what they hold
  // (but for the caller's own: at some time after they have returned).
  void Detach();

  // Detaches many probes at the price of few, as AttachAll attaches them.
  static void DetachAll(absl::Span<ReturnProbe> probes);

  // Replaces options.filter, for calls that begin from now on.
  // Errors: kInvalidArgument, impossible threads. Nothing has changed then.
  absl::Status SetFilter(const CallFilter& filter);

  void* function() const;
  Missed nmissed() const;

  // Whether only entry handlers run, because the function returns twice or
  // never, asks who called it, or continues on another stack: setjmp, exit,
  // dlsym, swapcontext. Its activations end as if their entry handlers had
  // declined.
  bool entry_only() const;

  // Whether calls go through an int3 and a SIGTRAP handler, some thousand times
  // as slow as a jump, because the function's entry has no room for one.
  bool uses_trap() const;

  // All probes that are attached in this process, by function.
  // Thread-safe.
  static std::vector<ProbeInfo> List();

  // The implementation's; owned by it.
  struct Probe;

 private:
  friend struct ProbeAccess;
  explicit ReturnProbe(Probe* probe) : probe_(probe) {}
  Probe* probe_;  // null: moved from, or detached
};

// Gives up a stack, or a part of it, with the frames that are on it: a fiber's
// that is destroyed before its function has returned, or that of a thread which
// ended by a system call of its own, or, in a child of fork, of one that there
// is only in the parent. The activations whose frames begin in [low, high) end
// as abandoned, innermost first; their return handlers run in the calling
// thread. Returns how many. Without this they would stay out for ever, at the
// cost of some memory each.
//
// Requires: the memory can still be read, and nobody runs on it, now or later;
//   whoever did has synchronized with the caller.
// Concurrency: from any thread at any time, but not for the same frames twice
//   at once. Not async-signal-safe. Takes time in proportion to the instances
//   there are. An activation whose handler was running is not found.
RETPROBE_API size_t AbandonFrames(const void* low, const void* high);

}  // namespace retprobe

#endif  // RETPROBE_RETURN_PROBE_H_
