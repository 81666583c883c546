// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_RTE_MEMPOOL_H_
#define RETPROBE_BENCH_PEERS_RTE_MEMPOOL_H_

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_mempool.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace retprobe::bench {

// DPDK's object pool: a ring for all and a cache for each thread, without
// huge pages, devices or a second process. Objects in a thread's cache are out
// of reach for others, so the cache is kept small.
class RteMempool {
 public:
  // Starts DPDK, once. False, with the reason in `error`, when it will not.
  // It moves the calling thread to one CPU.
  static bool Start(std::string* error) {
    static const int started = [] {
      std::string words[] = {
          "objpool_bench",      "--no-huge",      "--no-pci",   "--no-shconf",
          "--no-telemetry",     "--iova-mode=va", "--lcores=0",

          "--log-level=*:error"};
      char* arguments[std::size(words)];
      for (size_t i = 0; i < std::size(words); ++i) {
        arguments[i] = words[i].data();
      }
      return rte_eal_init(static_cast<int>(std::size(words)), arguments);
    }();
    if (started < 0) *error = rte_strerror(rte_errno);
    return started >= 0;
  }

  RteMempool(size_t count, size_t size) {
    static int number = 0;
    const std::string name = "bench" + std::to_string(number++);
    const unsigned cache = static_cast<unsigned>(
        std::min<size_t>(RTE_MEMPOOL_CACHE_MAX_SIZE, count / 4));
    pool_ = rte_mempool_create(name.c_str(), static_cast<unsigned>(count),
                               static_cast<unsigned>(size), cache, 0, nullptr,
                               nullptr, nullptr, nullptr, SOCKET_ID_ANY, 0);
    if (pool_ == nullptr) {
      std::fprintf(stderr, "objpool_bench: rte_mempool_create: %s\n",
                   rte_strerror(rte_errno));
      std::exit(1);
    }
  }
  ~RteMempool() { rte_mempool_free(pool_); }
  RteMempool(const RteMempool&) = delete;
  RteMempool& operator=(const RteMempool&) = delete;

  // Threads that DPDK does not know have no cache.
  class Local {
   public:
    explicit Local(RteMempool& pool)
        : pool_(pool.pool_),
          registered_(rte_lcore_id() == LCORE_ID_ANY &&
                      rte_thread_register() == 0) {}
    ~Local() {
      if (rte_lcore_id() != LCORE_ID_ANY) {
        rte_mempool_cache_flush(
            rte_mempool_default_cache(pool_, rte_lcore_id()), pool_);
      }
      if (registered_) rte_thread_unregister();
    }
    Local(const Local&) = delete;
    Local& operator=(const Local&) = delete;
    void* Pop() {
      void* object;
      return rte_mempool_get(pool_, &object) == 0 ? object : nullptr;
    }
    void Push(void* object) { rte_mempool_put(pool_, object); }
    // All or nothing.
    size_t PopBatch(void** objects, size_t most) {
      const auto count = static_cast<unsigned>(most);
      return rte_mempool_get_bulk(pool_, objects, count) == 0 ? most : 0;
    }
    void PushBatch(void* const* objects, size_t count) {
      rte_mempool_put_bulk(pool_, objects, static_cast<unsigned>(count));
    }

   private:
    rte_mempool* pool_;
    bool registered_;
  };

 private:
  rte_mempool* pool_;
};

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_RTE_MEMPOOL_H_
