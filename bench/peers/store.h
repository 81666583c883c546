// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_STORE_H_
#define RETPROBE_BENCH_PEERS_STORE_H_

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

#include "base/cache_line.h"

namespace retprobe::bench {

// `count` elements of zero bytes, on cache lines that nothing else is on, so
// that the same elements share a line in every run.
// Requires: zero bytes are a valid T, which needs no destruction.
template <typename T>
class ZeroArray {
 public:
  explicit ZeroArray(size_t count)
      : elements_(static_cast<T*>(std::memset(
            ::operator new (Bytes(count), std::align_val_t{kCacheLine}), 0,
            Bytes(count)))) {}
  T& operator[](size_t index) const { return elements_.get()[index]; }

 private:
  struct Free {
    void operator()(T* elements) const {
      ::operator delete (elements, std::align_val_t{kCacheLine});
    }
  };
  static size_t Bytes(size_t count) {
    return (count * sizeof(T) + kCacheLine) / kCacheLine * kCacheLine;
  }
  std::unique_ptr<T, Free> elements_;
};

// The objects themselves, each on lines of its own.
class Store {
 public:
  Store(size_t count, size_t size)
      : stride_((size + 63) / 64 * 64), bytes_(count * stride_) {}
  void* At(size_t index) const { return &bytes_[index * stride_]; }
  uint32_t IndexOf(const void* object) const {
    return static_cast<uint32_t>(
        (static_cast<const std::byte*>(object) - &bytes_[0]) / stride_);
  }

 private:
  size_t stride_;
  ZeroArray<std::byte> bytes_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_STORE_H_
