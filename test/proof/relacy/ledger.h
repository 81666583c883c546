// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_PROOF_RELACY_LEDGER_H_
#define RETPROBE_TEST_PROOF_RELACY_LEDGER_H_

#include <array>
#include <optional>

#include "machine.h"

namespace retprobe::proof {

inline constexpr uint32_t kNone = ~uint32_t{0};

// Who has which object, in a model. Objects are numbers; their contents are
// plain memory, so that Relacy sees when an owner's accesses do not happen
// after those of the one before.
template <int kObjects>
class Ledger {
 public:
  // The first `idle` objects are idle, and everybody knows.
  explicit Ledger(int idle = kObjects) {
    for (int i = 0; i < kObjects; ++i) {
      objects_[i].contents($) = 0;
      objects_[i].idle = i < idle;
    }
  }

  // What a pop must not overlook: the objects whose pushes happened before it.
  using Known = std::array<std::optional<int>, kObjects>;
  Known BeginPop() const {
    Known known;
    for (int i = 0; i < kObjects; ++i) {
      const Object& object = objects_[i];
      if (!hiding_ && !object.in_use && object.idle && object.since.IsPast()) {
        known[i] = object.version;
      }
    }
    return known;
  }

  // A pop has returned `index`, or kNone.
  void EndPop(const Known& known, uint32_t index) {
    if (index != kNone) {
      Take(index);
      return;
    }
    for (int i = 0; i < kObjects; ++i) {
      Check(!known[i] || *known[i] != objects_[i].version,
            "null, and an object was idle all the time");
    }
  }
  void Take(uint32_t index) {
    Check(index < kObjects, "an object from nowhere");
    Object& object = objects_[index];
    Check(!object.in_use, "handed out twice");
    object.in_use = true;
    object.idle = false;
    ++object.version;
    object.contents($) = object.contents($) + 1;
  }

  // Around a push.
  int BeginPush(uint32_t index) {
    Object& object = objects_[index];
    object.contents($) = object.contents($) + 1;
    object.in_use = false;
    return object.version;
  }
  void EndPush(uint32_t index, int version) {
    Object& object = objects_[index];
    if (object.version != version) return;  // has been popped since
    object.idle = true;
    object.since = Moment::Now();
  }

  // Between the two, pops may overlook objects.
  void Hide(bool begin) {
    hiding_ = begin;
    for (Object& object : objects_) ++object.version;
  }

  // Reads what an object's last owner wrote.
  int Visit(uint32_t index) { return objects_[index].contents($); }

  bool InUse(uint32_t index) const { return objects_[index].in_use; }

 private:
  struct Object {
    rl::var<int> contents;
    bool in_use = false;
    bool idle = true;
    int version = 0;
    Moment since = {0, 0};
  };
  Object objects_[kObjects];
  bool hiding_ = false;
};

}  // namespace retprobe::proof

#endif  // RETPROBE_TEST_PROOF_RELACY_LEDGER_H_
