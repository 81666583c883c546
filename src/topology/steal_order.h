// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TOPOLOGY_STEAL_ORDER_H_
#define RETPROBE_TOPOLOGY_STEAL_ORDER_H_

#include <cstdint>

// For the pool's hot sources, too: plain pointers, no Abseil.

namespace retprobe {

// CPUs that are equally near to some CPU. CPUs are counted by *place* here:
// neighbours in the machine have neighbouring places. These are the places
// `begin` .. `end` without those from `hole_begin` to `hole_end`, which are
// nearer; begin <= hole_begin <= hole_end <= end.
struct StealRing {
  uint16_t begin;
  uint16_t end;
  uint16_t hole_begin;
  uint16_t hole_end;
};

// For each CPU all the others, nearest first: a few rings each, where a table
// of CPUs by CPUs would take 128 MiB at 8192 CPUs.
struct StealTable {
  const uint16_t* cpu_at;      // by place
  const uint16_t* place_of;    // by CPU
  const uint32_t* first_ring;  // by CPU, and where the last one's rings end
  const StealRing* rings;
};

// Goes through all other CPUs as CPU `cpu` sees them, each once:
//
//   uint32_t victim;
//   for (StealCursor at(table, cpu); at.Next(victim);) ...
//
// In each ring every CPU begins elsewhere, the k-th of a cache with the k-th of
// the next cache, so that thieves do not all turn to the same victim.
class StealCursor {
 public:
  StealCursor(const StealTable& table, uint32_t cpu) noexcept
      : cpu_at_(table.cpu_at),
        ring_(table.rings + table.first_ring[cpu]),
        last_ring_(table.rings + table.first_ring[cpu + 1]),
        own_place_(table.place_of[cpu]) {
    Enter();
  }

  bool Next(uint32_t& cpu) noexcept {
    if (left_ == 0) {
      if (ring_ == last_ring_ || ++ring_ == last_ring_) return false;
      Enter();
    }
    --left_;
    cpu = cpu_at_[place_];
    if (++place_ == ring_->end) place_ = ring_->begin;
    if (place_ == ring_->hole_begin) place_ = ring_->hole_end;
    if (place_ == ring_->end) place_ = ring_->begin;
    return true;
  }

 private:
  void Enter() noexcept {
    if (ring_ == last_ring_) return;
    const uint32_t whole = ring_->end - ring_->begin;
    const uint32_t hole = ring_->hole_end - ring_->hole_begin;
    const uint32_t shift = own_place_ - (hole != 0 ? ring_->hole_begin : 0);
    left_ = whole - hole;
    place_ = ring_->hole_end + (shift < left_ ? shift : shift % left_);
    if (place_ >= ring_->end) place_ -= whole;
  }

  const uint16_t* cpu_at_;
  const StealRing* ring_;
  const StealRing* last_ring_;
  uint32_t own_place_;
  uint32_t place_ = 0;
  uint32_t left_ = 0;
};

}  // namespace retprobe

#endif  // RETPROBE_TOPOLOGY_STEAL_ORDER_H_
