// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "retprobe/pool.h"

// A pool as users link it: the inlined fast paths, the slow ones behind them,
// and the typed handle.

namespace {

struct Request {
  char buffer[500];
  size_t length = 0;
};

absl::Status Run() {
  auto pool = retprobe::Pool<Request>::Create({.object_count = 64});
  if (!pool.ok()) return pool.status();
  if (retprobe::PoolHandle<Request> request = (*pool)->Acquire()) {
    request->length = 0;
  }
  void* objects[65];
  const size_t got = (*pool)->objects().PopBatch(objects, 65);
  (*pool)->objects().PushBatch(objects, got);
  std::printf("%zu objects\n", got);
  return absl::OkStatus();
}

}  // namespace

int main() { return Run().ok() ? 0 : 1; }
