// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_COHERENCE_SIMULATOR_H_
#define RETPROBE_BENCH_COHERENCE_SIMULATOR_H_

#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <utility>
#include <vector>

#include "coherence/costs.h"
#include "coherence/directory.h"
#include "coherence/machine.h"

namespace retprobe::bench {

// Runs ordinary code on virtual CPUs, one fiber each, all in the one thread
// that calls Run. Every access to shared memory is announced by Access, which
// returns once the CPU has the line, and moves the CPU's clock. The CPU with
// the least clock runs, the lowest id among equals: the same code gives the
// same result, always.
//
// A CPU that needs a line which is on its way to another waits, and that is
// what contention costs. Which of those that wait is next is drawn by lot
// (always the same lots). The CPU that has the line keeps it until half of the
// next one's transfer is over, as the request must first travel: time enough to
// try a failed compare-and-swap again.
//
// Not modelled: capacity and sets of caches, prefetching (of the adjacent line,
// too), store buffers (stores wait), bandwidth, cores shared by siblings.
class Simulator {
 public:
  Simulator(const Machine& machine, const Costs& costs);
  ~Simulator();
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;

  // The simulator whose Run is on the stack; null outside.
  static Simulator* Current() { return current_; }

  // Runs `body(cpu)` on all `cpus` until every one has returned. They start at
  // the time at which the last Run ended; caches are as it left them.
  void Run(const std::vector<uint32_t>& cpus,
           std::function<void(uint32_t cpu)> body);

  // The rest is for code that runs on a virtual CPU.

  uint32_t cpu() const { return running_; }

  // Of this CPU.
  Picoseconds now() const { return fibers_[running_].clock; }

  // Makes the line of `address` this CPU's as `kind` needs it. The caller then
  // accesses the memory before it calls anything here again.
  void Access(const void* address, AccessKind kind);

  // Work that needs no shared memory.
  void Work(Picoseconds time) { fibers_[running_].clock += time; }

  // A restartable section of this CPU begins. Nothing interrupts it but
  // others' barriers; its last access must look whether one has.
  void BeginSection() { fibers_[running_].interrupted = false; }
  bool Interrupted() const { return fibers_[running_].interrupted; }

  // A number below `below`, the same in every run.
  uint64_t Random(uint64_t below);

  // Interrupts all other CPUs' sections, as membarrier does.
  void Barrier();

  Directory& directory() { return directory_; }

  // Of all CPUs, ever: what a simulation takes of real time.
  uint64_t accesses() const { return accesses_; }

  // When the last Run ended.
  Picoseconds end() const { return end_; }

 private:
  struct Fiber {
    ucontext_t context;
    std::unique_ptr<std::byte[]> stack;
    Picoseconds clock = 0;
    Picoseconds stolen = 0;  // by interrupts, not yet on the clock
    bool interrupted = false;
  };
  using Turn = std::pair<Picoseconds, uint32_t>;  // clock, CPU

  static void Enter();
  void Await();
  void Switch();
  void Release(Directory::Line& line);
  void Miss(Directory::Line& line, AccessKind kind, bool queued);

  static Simulator* current_;
  const Costs& costs_;
  Directory directory_;
  std::vector<Fiber> fibers_;
  std::priority_queue<Turn, std::vector<Turn>, std::greater<>> turns_;
  std::function<void(uint32_t)> body_;
  ucontext_t main_;
  uint64_t random_ = 1;
  uint64_t accesses_ = 0;
  uint32_t running_ = 0;
  uint32_t unfinished_ = 0;
  Picoseconds end_ = 0;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_COHERENCE_SIMULATOR_H_
