// SPDX-License-Identifier: Apache-2.0
#include "coherence/simulator.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace retprobe::bench {
namespace {

constexpr size_t kStackBytes = 64 << 10;

}  // namespace

Simulator* Simulator::current_ = nullptr;

Simulator::Simulator(const Machine& machine, const Costs& costs)
    : costs_(costs), directory_(machine, costs), fibers_(machine.cpus()) {}

Simulator::~Simulator() = default;

void Simulator::Run(const std::vector<uint32_t>& cpus,
                    std::function<void(uint32_t cpu)> body) {
  Simulator* const outer = std::exchange(current_, this);
  body_ = std::move(body);
  unfinished_ = static_cast<uint32_t>(cpus.size());
  for (uint32_t cpu : cpus) {
    Fiber& fiber = fibers_[cpu];
    if (fiber.stack == nullptr) fiber.stack.reset(new std::byte[kStackBytes]);
    fiber.clock = end_;
    fiber.stolen = 0;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, Enter, 0);
    turns_.emplace(end_, cpu);
  }
  if (unfinished_ != 0) {
    running_ = turns_.top().second;
    turns_.pop();
    swapcontext(&main_, &fibers_[running_].context);
  }
  current_ = outer;
}

void Simulator::Enter() {
  Simulator& simulator = *current_;
  simulator.body_(simulator.running_);
  simulator.end_ = std::max(simulator.end_, simulator.now());
  --simulator.unfinished_;
  simulator.Switch();
}

// Lets the CPU that is next run; returns when this one is called upon.
void Simulator::Switch() {
  ucontext_t* const here = &fibers_[running_].context;
  if (!turns_.empty()) {
    running_ = turns_.top().second;
    turns_.pop();
    if (here != &fibers_[running_].context) {
      swapcontext(here, &fibers_[running_].context);
    }
  } else if (unfinished_ == 0) {
    setcontext(&main_);
  } else {
    std::fprintf(stderr, "coherence model: every CPU waits for a line\n");
    std::abort();
  }
}

// Returns once no other CPU's clock is behind this one's.
void Simulator::Await() {
  const Turn mine(now(), running_);
  if (turns_.empty() || mine < turns_.top()) return;
  turns_.push(mine);
  Switch();
}

void Simulator::Access(const void* address, AccessKind kind) {
  Fiber& fiber = fibers_[running_];
  fiber.clock += std::exchange(fiber.stolen, 0);
  ++accesses_;
  Await();
  Directory::Line& line = directory_.At(address);
  if (!directory_.Hits(line, running_, kind)) {
    const bool queued = line.busy;
    if (queued) {
      line.waiting.push_back(running_);
      Switch();
    }
    // What is on its way to a CPU before us may have been all we needed.
    if (directory_.Hits(line, running_, kind)) {
      Release(line);
    } else {
      Miss(line, kind, queued);
    }
  }
  directory_.Touch(line, kind);
  fiber.clock += directory_.HitCost(kind);
}

// `queued`: the line is busy on our behalf.
void Simulator::Miss(Directory::Line& line, AccessKind kind, bool queued) {
  Picoseconds& clock = fibers_[running_].clock;
  const bool disturbs = directory_.DisturbsOthers(line, running_, kind);
  const Picoseconds cost = directory_.StartMiss(line, running_, kind);
  if (!disturbs) {
    // A further copy: nobody need wait for us, nor we for anybody.
    directory_.Install(line, running_, kind);
    if (queued) Release(line);
    clock += cost;
    return;
  }
  line.busy = true;
  clock += cost / 2;
  Await();
  directory_.Disturb(line, running_, kind);
  clock += cost - cost / 2;
  Await();
  directory_.Install(line, running_, kind);
  Release(line);
}

// Hands the line to one of the CPUs that wait for it.
void Simulator::Release(Directory::Line& line) {
  line.busy = !line.waiting.empty();
  if (!line.busy) return;
  const size_t chosen = Random(line.waiting.size());
  const uint32_t next = line.waiting[chosen];
  line.waiting[chosen] = line.waiting.back();
  line.waiting.pop_back();
  fibers_[next].clock = std::max(fibers_[next].clock, now());
  turns_.emplace(fibers_[next].clock, next);
}

uint64_t Simulator::Random(uint64_t below) {
  // D. Knuth's linear congruential generator; its upper bits are the good ones.
  random_ = random_ * 6364136223846793005u + 1442695040888963407u;
  return (random_ >> 33) % below;
}

void Simulator::Barrier() {
  Await();
  for (uint32_t cpu = 0; cpu < fibers_.size(); ++cpu) {
    if (cpu == running_ || fibers_[cpu].stack == nullptr) continue;
    fibers_[cpu].interrupted = true;
    fibers_[cpu].stolen += costs_.interrupt;
  }
  Work(costs_.barrier);
}

}  // namespace retprobe::bench
