// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_KERNEL_RING_H_
#define RETPROBE_TEST_KERNEL_RING_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

// The algorithm of lib/objpool.c (Linux 6.7) for one slot, word for word as far
// as the memory model allows. There interrupts are off while an object is
// pushed; here they are not, and it is wrong: what the checker must find out.

namespace retprobe::test {

class KernelRing {
 public:
  explicit KernelRing(uint32_t objects)
      : objects_(std::make_unique<Object[]>(objects)), size_(objects) {
    while (capacity_ < objects) capacity_ *= 2;
    entries_ = std::make_unique<std::atomic<void*>[]>(capacity_);
    for (uint32_t i = 0; i < objects; ++i) Push(&objects_[i]);
  }

  void* Pop() {
    if (stuck()) return nullptr;
    uint32_t head = head_.load(std::memory_order_acquire);
    for (uint32_t turns = 0; head != last_.load(std::memory_order_acquire);) {
      // The kernel turns for ever; we say that it is stuck.
      if (++turns > 100'000) {
        stuck_.store(true, std::memory_order_relaxed);
        return nullptr;
      }
      if (last_.load(std::memory_order_acquire) - head - 1 >= size_) {
        head = head_.load(std::memory_order_acquire);
        continue;
      }
      void* object =
          entries_[head & (capacity_ - 1)].load(std::memory_order_seq_cst);
      if (head_.compare_exchange_strong(head, head + 1)) return object;
    }
    return nullptr;
  }

  void Push(void* object) {
    uint32_t tail = tail_.load(std::memory_order_seq_cst);
    do {
      if (tail - head_.load() > size_) {
        stuck_.store(true, std::memory_order_relaxed);
        return;
      }
    } while (!tail_.compare_exchange_strong(tail, tail + 1));
    entries_[tail & (capacity_ - 1)].store(object, std::memory_order_seq_cst);
    last_.store(tail + 1, std::memory_order_release);
  }

  size_t capacity() const { return size_; }
  size_t IndexOf(const void* object) const {
    return static_cast<const Object*>(object) - objects_.get();
  }
  bool stuck() const { return stuck_.load(std::memory_order_relaxed); }

 private:
  struct alignas(64) Object {
    std::atomic<uint64_t> word{0};
  };

  std::unique_ptr<Object[]> objects_;
  uint32_t size_;
  uint32_t capacity_ = 1;
  std::unique_ptr<std::atomic<void*>[]> entries_;
  std::atomic<uint32_t> head_{0};
  std::atomic<uint32_t> tail_{0};
  std::atomic<uint32_t> last_{0};
  std::atomic<bool> stuck_{false};
};

}  // namespace retprobe::test

#endif  // RETPROBE_TEST_KERNEL_RING_H_
