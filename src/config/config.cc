// SPDX-License-Identifier: Apache-2.0
#include "retprobe/config.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "config/active.h"
#include "config/settings.h"

namespace retprobe {
namespace {

// What is in force: complete, and never changed. One that is replaced is kept,
// for it may be being read; programs replace it once or twice.
struct Active {
  ConfigSources sources;
  Settings settings;
  const Active* before = nullptr;
};

std::atomic<const Active*> g_active{nullptr};

std::unique_ptr<Active> Load(ConfigSources sources) {
  auto active = std::make_unique<Active>();
  active->settings = Settings::Load(sources);
  active->sources = std::move(sources);
  return active;
}

// Puts `active` in the place of `before`, unless another thread was faster;
// then `before` becomes that one's.
bool Install(std::unique_ptr<Active>& active, const Active*& before) {
  active->before = before;
  // R0 -> A0, A1: the configuration is complete.
  // A1 <- R0: as A0, for the other thread's.
  if (!g_active.compare_exchange_strong(before, active.get(),
                                        std::memory_order_release,
                                        std::memory_order_acquire)) {
    return false;
  }
  active.release();
  return true;
}

// What is in force; from the environment the first time.
const Active* Current() {
  // A0 <- R0: the configuration is complete.
  const Active* current = g_active.load(std::memory_order_acquire);
  if (current != nullptr) return current;
  std::unique_ptr<Active> first = Load(ConfigSources::FromEnvironment());
  const Active* loaded = first.get();
  return Install(first, current) ? loaded : current;
}

// Puts what `make` makes of it, a std::unique_ptr<Active>, in the place of what
// is in force, unless that is wrong.
template <typename Make>
absl::Status Replace(Make make) {
  const Active* before = Current();
  for (;;) {
    std::unique_ptr<Active> active = make(*before);
    const absl::Status status = active->settings.status();
    if (!status.ok() || Install(active, before)) return status;
  }
}

}  // namespace

absl::StatusOr<Config> ActiveConfig() {
  const Settings& settings = Current()->settings;
  const absl::Status status = settings.status();
  if (!status.ok()) return status;
  return settings.config();
}

absl::Status SetConfigFile(absl::string_view path) {
  return Replace([path](const Active& present) {
    ConfigSources sources = present.sources;
    sources.file = std::string(path);
    return Load(std::move(sources));
  });
}

absl::Status SetConfigOptions(absl::string_view options) {
  return Replace([options](const Active& present) {
    auto active = std::make_unique<Active>(present);
    active->sources.program.emplace_back(options);
    active->settings.Add(options);
    return active;
  });
}

absl::Status ReplaceConfigSources(const ConfigSources& sources) {
  std::unique_ptr<Active> active = Load(sources);
  const absl::Status status = active->settings.status();
  if (!status.ok()) return status;
  const Active* before = nullptr;
  while (!Install(active, before)) {
  }
  return status;
}

}  // namespace retprobe
