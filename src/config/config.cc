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
  absl::Status status;
  Config config;
  const Active* before = nullptr;
};

std::atomic<const Active*> g_active{nullptr};

std::unique_ptr<Active> Load(ConfigSources sources) {
  const Settings settings = Settings::Load(sources);
  auto active = std::make_unique<Active>();
  active->sources = std::move(sources);
  active->status = settings.status();
  if (active->status.ok()) active->config = settings.config();
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

const Active* Current() {
  // A0 <- R0: the configuration is complete.
  return g_active.load(std::memory_order_acquire);
}

// Loads anew with the sources that `change` makes of the present ones.
template <typename Change>
absl::Status Replace(Change change) {
  const Active* before = Current();
  for (;;) {
    ConfigSources sources =
        before == nullptr ? ConfigSources::FromEnvironment() : before->sources;
    change(sources);
    std::unique_ptr<Active> active = Load(std::move(sources));
    if (!active->status.ok()) return active->status;
    if (Install(active, before)) return absl::OkStatus();
  }
}

}  // namespace

absl::StatusOr<Config> ActiveConfig() {
  const Active* current = Current();
  if (current == nullptr) {
    std::unique_ptr<Active> first = Load(ConfigSources::FromEnvironment());
    const Active* loaded = first.get();
    if (Install(first, current)) current = loaded;
  }
  if (!current->status.ok()) return current->status;
  return current->config;
}

absl::Status SetConfigFile(absl::string_view path) {
  return Replace(
      [path](ConfigSources& sources) { sources.file = std::string(path); });
}

absl::Status SetConfigOptions(absl::string_view options) {
  return Replace([options](ConfigSources& sources) {
    sources.program.emplace_back(options);
  });
}

absl::Status ReplaceConfigSources(const ConfigSources& sources) {
  return Replace([&sources](ConfigSources& present) { present = sources; });
}

}  // namespace retprobe
