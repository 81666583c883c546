// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_MOODYCAMEL_H_
#define RETPROBE_BENCH_PEERS_MOODYCAMEL_H_

#include <concurrentqueue/concurrentqueue.h>

#include <cstddef>

#include "peers/store.h"

namespace retprobe::bench {

// moodycamel::ConcurrentQueue with tokens, its fastest way.
class Moodycamel {
  using Queue = moodycamel::ConcurrentQueue<void*>;

 public:
  Moodycamel(size_t count, size_t size)
      : store_(count, size), queue_(4 * count + 4096) {
    for (size_t i = 0; i < count; ++i) queue_.enqueue(store_.At(i));
  }

  class Local {
   public:
    explicit Local(Moodycamel& pool)
        : queue_(pool.queue_), producer_(queue_), consumer_(queue_) {}
    void* Pop() {
      void* object;
      return queue_.try_dequeue(consumer_, object) ? object : nullptr;
    }
    void Push(void* object) { queue_.enqueue(producer_, object); }
    size_t PopBatch(void** objects, size_t most) {
      return queue_.try_dequeue_bulk(consumer_, objects, most);
    }
    void PushBatch(void* const* objects, size_t count) {
      queue_.enqueue_bulk(producer_, objects, count);
    }

   private:
    Queue& queue_;
    moodycamel::ProducerToken producer_;
    moodycamel::ConsumerToken consumer_;
  };

 private:
  Store store_;
  Queue queue_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_MOODYCAMEL_H_
