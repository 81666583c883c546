// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_BENCH_PEERS_MALLOC_H_
#define RETPROBE_BENCH_PEERS_MALLOC_H_

#include <dlfcn.h>
#include <gnu/libc-version.h>

#include <cstddef>
#include <cstdlib>
#include <string>

namespace retprobe::bench {

// The process's malloc: glibc's, or what is preloaded in its place.
class Malloc {
 public:
  Malloc(size_t, size_t size) : size_(size) {}
  void* Pop() { return std::malloc(size_); }
  void Push(void* object) { std::free(object); }

 private:
  size_t size_;
};

struct MallocIdentity {
  const char* name;  // the pool's name in the results
  std::string version;
};

// Which one that is.
inline MallocIdentity IdentifyMalloc() {
  if (void* symbol = dlsym(RTLD_DEFAULT, "mi_version"); symbol != nullptr) {
    const int version = reinterpret_cast<int (*)()>(symbol)();
    return {"mimalloc", std::to_string(version)};
  }
  if (void* symbol = dlsym(RTLD_DEFAULT, "mallctl"); symbol != nullptr) {
    const char* version = "";
    size_t size = sizeof(version);
    reinterpret_cast<int (*)(const char*, void*, size_t*, void*, size_t)>(
        symbol)("version", &version, &size, nullptr, 0);
    return {"jemalloc", version};
  }
  return {"malloc", std::string("glibc ") + gnu_get_libc_version()};
}

}  // namespace retprobe::bench

#endif  // RETPROBE_BENCH_PEERS_MALLOC_H_
