// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_OBJECT_LEDGER_H_
#define RETPROBE_TEST_OBJECT_LEDGER_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace retprobe::test {

// Knows which objects of a pool somebody has. Pool: Pop, Push, IndexOf,
// capacity.
//
// It orders nothing itself: its atomics are relaxed, and what it writes into
// the objects is plain, so that ThreadSanitizer sees when the pool lets two
// owners in without an edge between them.
template <typename Pool>
class ObjectLedger {
 public:
  // Objects are at least `words` * 8 bytes long.
  explicit ObjectLedger(Pool& pool, size_t words = 1)
      : pool_(pool),
        last_word_(words - 1),
        size_(pool.capacity()),
        owned_(std::make_unique<Owned[]>(size_)) {}

  // Notes that the caller has popped `object`. False when somebody else has it,
  // or it is none: then it is not to be disowned.
  bool Own(void* object) {
    const size_t index = pool_.IndexOf(object);
    if (index >= size_) {
      Count(foreign_);
      return false;
    }
    // relaxed: the pool's push and pop are the edge
    if (owned_[index].by.exchange(1, std::memory_order_relaxed) != 0) {
      Count(duplicates_);
      return false;
    }
    auto* word = static_cast<uint64_t*>(object);
    word[0] = word[last_word_] = index ^ kMark;
    return true;
  }

  // Notes that the caller is about to give `object` back.
  void Disown(void* object) {
    const size_t index = pool_.IndexOf(object);
    auto* word = static_cast<uint64_t*>(object);
    if (word[0] != (index ^ kMark) || word[last_word_] != (index ^ kMark)) {
      Count(overwritten_);
    }
    word[0] = word[last_word_] = 0;
    // relaxed: the pool's push and pop are the edge
    owned_[index].by.store(0, std::memory_order_relaxed);
  }

  // Pops; null when there is nothing, or nothing that is the caller's.
  void* Pop() {
    void* object = pool_.Pop();
    return object != nullptr && Own(object) ? object : nullptr;
  }
  void Push(void* object) {
    Disown(object);
    pool_.Push(object);
  }

  // Says that `object` will not come back.
  void Drop(void* object) {
    Disown(object);
    pool_.Drop(object);
  }
  // Pops up to `count` objects; only those that are the caller's count.
  size_t PopBatch(void** objects, size_t count) {
    const size_t popped = pool_.PopBatch(objects, count);
    size_t mine = 0;
    for (size_t i = 0; i < popped; ++i) {
      if (Own(objects[i])) objects[mine++] = objects[i];
    }
    return mine;
  }
  void PushBatch(void* const* objects, size_t count) {
    for (size_t i = 0; i < count; ++i) Disown(objects[i]);
    pool_.PushBatch(objects, count);
  }

  // Nobody has anything any more, without having given it back.
  void Forget() {
    for (size_t i = 0; i < size_; ++i) {
      owned_[i].by.store(0, std::memory_order_relaxed);
    }
  }

  // Pops until nothing is left and pushes it all back. Returns how many.
  size_t CountIdle() {
    std::vector<void*> objects;
    while (objects.size() <= size_) {
      void* object = Pop();
      if (object == nullptr) break;
      objects.push_back(object);
    }
    for (void* object : objects) Push(object);
    return objects.size();
  }

  // What must not happen: an object handed out while somebody has it, its
  // contents changed meanwhile, an address from nowhere.
  uint64_t duplicates() const { return Read(duplicates_); }
  uint64_t overwritten() const { return Read(overwritten_); }
  uint64_t foreign() const { return Read(foreign_); }
  bool failed() const { return duplicates() + overwritten() + foreign() != 0; }

 private:
  static constexpr uint64_t kMark = 0x5eed0b7ec7;
  struct alignas(64) Owned {
    std::atomic<uint8_t> by{0};
  };

  static void Count(std::atomic<uint64_t>& counter) {
    counter.fetch_add(1, std::memory_order_relaxed);
  }
  static uint64_t Read(const std::atomic<uint64_t>& counter) {
    return counter.load(std::memory_order_relaxed);
  }

  Pool& pool_;
  size_t last_word_;
  size_t size_;
  std::unique_ptr<Owned[]> owned_;
  std::atomic<uint64_t> duplicates_{0};
  std::atomic<uint64_t> overwritten_{0};
  std::atomic<uint64_t> foreign_{0};
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_OBJECT_LEDGER_H_
