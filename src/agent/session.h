// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_AGENT_SESSION_H_
#define RETPROBE_AGENT_SESSION_H_

#include <cstdint>

// What passes between the `retprobe` command and the agent inside the traced
// program. Both are of one build; the version catches a mixture.
//
// The command listens on a socket (SOCK_SEQPACKET) whose path is in the
// environment. The agent connects at start (kStart), after a dlopen that
// brought something to probe (kLoaded) and, when children are followed, in a
// forked child (kForked):
//
//   agent: Hello                          command: Setup + patterns
//                                                 + options + choice
//   agent: Announcement + descriptor ...  (a segment, or an event ring)
//   agent: Announcement{kDone}            command: Verdict
//
// and closes the connection: the program keeps no descriptor of ours. Segments
// are anonymous shared memory, so they outlive the program however it ends and
// no file system can fill up under its feet.
namespace retprobe::session {

inline constexpr char kSocketVariable[] = "RETPROBE_SESSION";
inline constexpr uint32_t kMagic = 0x52505331;  // "RPS1"
inline constexpr uint32_t kVersion = 3;

enum class HelloKind : uint32_t { kStart = 1, kLoaded = 2, kForked = 3 };

struct Hello {
  uint32_t magic;
  uint32_t version;
  HelloKind kind;
  uint32_t reserved;
};

enum Flag : uint32_t {
  kFlagFollow = 1,         // stay in the environment; trace forked children
  kFlagEvents = 2,         // keep an event ring
  kFlagListOnly = 4,       // say what would be probed, then exit
  kFlagPreloadWasSet = 8,  // the user had an LD_PRELOAD of his own
  kFlagCycleCounter = 16,  // the time stamp counter is a clock
};

// Followed by the patterns, each ended by a NUL; by the options that are not at
// their default, written as in RETPROBE_OPTIONS and ended by a NUL; and by
// which calls are meant: callers as CodeSet::Find has them, and threads, "main"
// or an id, behind a '!' if it is not meant, each ended by a NUL.
struct Setup {
  uint32_t magic;
  uint32_t version;
  uint32_t flags;
  uint32_t cpus;                      // ids are below this; cells per counter
  uint64_t nanoseconds_per_tick_q32;  // fixed point, 32 fractional bits
  uint32_t patterns_size;
  uint32_t ring_capacity;  // events per CPU, a power of two
  uint32_t options_size;
  uint32_t callers_size;
  uint32_t threads_size;
  uint32_t max_depth;  // as in ReturnProbeOptions
  uint64_t max_hits;
};

enum class AnnouncementKind : uint32_t { kSegment = 1, kRing = 2, kDone = 3 };

struct Announcement {
  uint32_t magic;
  AnnouncementKind kind;
};

struct Verdict {
  uint32_t magic;
  uint32_t proceed;  // 0: leave before main
};

inline constexpr int kExitByVerdict = 125;

// One function on one CPU. Written by relaxed additions, so a reader at any
// time sees each number right and their sum a little late.
struct alignas(64) Counters {
  uint64_t entered;  // calls seen by the entry handler
  uint64_t unwound;
  uint64_t
      abandoned;   // in neither `total` nor the histogram: the end has no time
  uint64_t total;  // ns
  uint64_t shortest;  // ns + 1; 0: none yet, which is what fresh memory holds
  uint64_t longest;   // ns
  uint64_t lost_events;
};
static_assert(sizeof(Counters) == 64);

enum class FunctionState : uint32_t { kRefused = 0, kProbed = 1, kGone = 2 };

// How a function is probed.
enum FunctionTrait : uint32_t {
  kTraitTrap = 1,       // by an int3: slow
  kTraitEntryOnly = 2,  // there is no return to see
};

// Names are offsets into the segment's string table; 0 is the empty string.
struct FunctionRecord {
  uint32_t name;    // as in the symbol table
  uint32_t module;  // path
  uint32_t reason;  // why it is refused
  FunctionState state;
  uint32_t traits;  // FunctionTrait; of a probed one
  uint32_t size;    // bytes of code; 0: unknown
  uint64_t address;
  // Activations that were not probed; stored by the agent from time to time.
  uint64_t missed_empty;
  uint64_t missed_recursion;
  uint64_t missed_dying;
  uint64_t missed_depth;
  uint64_t missed_limit;
};

// What became of a pattern in this segment.
struct PatternRecord {
  uint32_t modules;    // loaded modules it matches
  uint32_t functions;  // functions it matches, refused ones included
  uint32_t note;       // when there are none: why, or the nearest name
  uint32_t reserved;
};

// A batch of functions: those found at start, or by one dlopen. All offsets
// are in bytes from the beginning.
struct SegmentHeader {
  uint32_t magic;
  uint32_t version;
  uint64_t size;
  uint32_t pid;  // in the program's own pid namespace
  uint32_t cpus;
  uint32_t first_function;  // number of functions[0] within the process
  uint32_t function_count;
  uint32_t pattern_count;
  uint32_t buckets;
  uint64_t functions;  // FunctionRecord[function_count]
  uint64_t patterns;   // PatternRecord[pattern_count]
  uint64_t strings;
  uint64_t strings_size;
  uint64_t counters;    // Counters[cpus][function_count]
  uint64_t histograms;  // uint64_t[cpus][function_count][buckets]
  uint32_t program;     // string: the program's path
  uint32_t error;       // string: why nothing is probed; 0 when all is well
  uint32_t warning;     // string: what is not covered
  uint32_t reserved;
  uint64_t instances;  // objects of the shared pool
};

// One call, written when it ends.
struct EventRecord {
  // Whose turn the place is (Vyukov's bounded queue): position when free,
  // position + 1 when filled, position + capacity when free again.
  uint64_t sequence;
  uint64_t begin;     // ticks
  uint64_t duration;  // ticks
  uint64_t arguments[4];
  uint64_t result;
  uint32_t thread;
  uint32_t function;  // number within the process
  uint32_t reason;    // EndReason
  uint32_t reserved;
};

struct alignas(64) EventRing {
  uint64_t head;     // producers
  uint64_t stalled;  // tail + 1 when a producer gave up waiting for it
  uint64_t padding0[6];
  uint64_t tail;  // the consumer; producers look at it only for progress
  uint64_t padding1[7];
  // EventRecord[capacity] follows.
};

struct RingHeader {
  uint32_t magic;
  uint32_t version;
  uint64_t size;
  uint32_t pid;
  uint32_t cpus;
  uint32_t capacity;
  uint32_t reserved;
  uint64_t rings;   // offset of the first EventRing
  uint64_t stride;  // bytes from one to the next
};

}  // namespace retprobe::session

#endif  // RETPROBE_AGENT_SESSION_H_
