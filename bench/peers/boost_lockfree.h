// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_BOOST_LOCKFREE_H_
#define RETPROBE_BENCH_PEERS_BOOST_LOCKFREE_H_

#include <boost/lockfree/queue.hpp>
#include <boost/lockfree/stack.hpp>
#include <cstddef>

#include "peers/store.h"

namespace retprobe::bench {

// boost::lockfree's queue or stack with all nodes made beforehand, which it
// then names by index: the fastest way to have it.
template <typename Container>
class BoostLockfree {
 public:
  BoostLockfree(size_t count, size_t size)
      : store_(count, size), container_(count) {
    for (size_t i = 0; i < count; ++i) Push(store_.At(i));
  }
  void* Pop() {
    void* object;
    return container_.pop(object) ? object : nullptr;
  }
  void Push(void* object) { container_.bounded_push(object); }

 private:
  Store store_;
  Container container_;
};

using BoostQueue = BoostLockfree<
    boost::lockfree::queue<void*, boost::lockfree::fixed_sized<true>>>;
using BoostStack = BoostLockfree<
    boost::lockfree::stack<void*, boost::lockfree::fixed_sized<true>>>;

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_BOOST_LOCKFREE_H_
