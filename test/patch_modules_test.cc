// SPDX-License-Identifier: Apache-2.0
// Every function of the libraries this test runs with.
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <random>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "patch/detour_site.h"
#include "patch/equivalence.h"
#include "symbols/symbols.h"

namespace retprobe {
namespace {

using Clock = std::chrono::steady_clock;

// A reason without its numbers.
std::string Kind(absl::string_view message) {
  std::string kind;
  for (size_t i = 0; i < message.size(); ++i) {
    const bool number = absl::ascii_isdigit(message[i]);
    if (number && i + 1 < message.size() && message[i + 1] == 'x') {
      i += 2;
      while (i < message.size() && absl::ascii_isxdigit(message[i])) ++i;
      kind += "N";
      if (i < message.size()) kind += message[i];
    } else if (!number) {
      kind += message[i];
    } else if (kind.empty() || kind.back() != 'N') {
      kind += 'N';
    }
  }
  return kind;
}

struct Tally {
  std::vector<Detour> prepared;
  std::map<std::string, int> refused;
  std::map<std::string, std::string> example;
  std::string wrong;
  double seconds = 0;
};

Tally PrepareModule(const Module& module) {
  Tally tally;
  const absl::StatusOr<std::vector<Function>> functions =
      ModuleFunctions(module);
  REQUIRE(functions.ok());
  const auto begin = Clock::now();
  for (const Function& function : *functions) {
    if (function.address == 0) continue;  // not resolved in this process
    const absl::StatusOr<Detour> detour =
        PrepareDetour(reinterpret_cast<void*>(function.address), function.size);
    if (!detour.ok()) {
      const std::string kind = Kind(detour.status().message());
      ++tally.refused[kind];
      absl::StrAppend(&tally.example[kind], " ", function.name);
      continue;
    }
    tally.prepared.push_back(*detour);
  }
  tally.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  for (const Detour& detour : tally.prepared) {
    const std::string difference = DifferenceOf(*detour.patch);
    if (difference.empty()) continue;
    absl::StrAppend(&tally.wrong, " ", absl::Hex(detour.patch->address), " ",
                    difference);
  }
  return tally;
}

void Report(const Module& module, const Tally& tally) {
  int refused = 0;
  for (const auto& [kind, count] : tally.refused) refused += count;
  MESSAGE(module.name << ": " << tally.prepared.size() << " prepared, "
                      << refused << " refused, " << tally.seconds << " s");
  for (const auto& [kind, count] : tally.refused) {
    MESSAGE("  " << count << " " << kind << ":"
                 << tally.example.at(kind).substr(0, 150));
  }
}

TEST_CASE(
    "the moved instructions of every library function are the originals") {
  for (const Module& module : LoadedModules()) {
    CAPTURE(module.name);
    const Tally tally = PrepareModule(module);
    Report(module, tally);
    CHECK(tally.wrong == "");
    size_t refused = 0;
    for (const auto& [kind, count] : tally.refused) {
      refused += static_cast<size_t>(count);
    }
    CHECK(refused * 10 < tally.prepared.size() + refused + 20);
  }
}

// Something of everything: strings, numbers, locale, sorting, files, memory.
std::string Exercise() {
  std::string result;
  std::mt19937 random(7);
  std::vector<double> numbers;
  for (int i = 0; i < 2000; ++i) numbers.push_back(std::sin(random()));
  std::sort(numbers.begin(), numbers.end());
  std::qsort(numbers.data(), numbers.size(), sizeof(double),
             [](const void* a, const void* b) {
               const double x = *static_cast<const double*>(a);
               const double y = *static_cast<const double*>(b);
               return x < y ? 1 : x > y ? -1 : 0;
             });
  std::ostringstream stream;
  for (const double number : numbers) stream << number << ' ';
  result = stream.str();
  char text[256];
  for (int i = 0; i < 200; ++i) {
    std::snprintf(text, sizeof(text), "%d %s %.17g %p %5.2Lf", i, "text",
                  std::exp(i / 50.0), static_cast<void*>(nullptr), 1.5L * i);
    result += text;
    result +=
        std::to_string(std::strtod(text + std::strlen(text) - 5, nullptr));
  }
  const std::regex words("[a-z]+|[0-9]+\\.");
  result += std::to_string(
      std::distance(std::sregex_iterator(result.begin(), result.end(), words),
                    std::sregex_iterator()));
  for (int i = 0; i < 50; ++i) {
    try {
      std::vector<int>().at(static_cast<size_t>(i));
    } catch (const std::exception& error) {
      result += error.what();
    }
  }
  if (FILE* file = std::tmpfile()) {
    std::fputs(result.c_str(), file);
    std::rewind(file);
    while (std::fgets(text, sizeof(text), file) != nullptr) result += text;
    std::fclose(file);
  }
  return result;
}

// Arms all of libc, libm and libstdc++ in this process, with `threads` others
// at work, and compares results.
bool WholeLibrariesWork(int threads) {
  const std::string expected = Exercise();
  std::vector<EntryPatch*> patches;
  std::vector<Detour> detours;
  for (const Module& module : LoadedModules()) {
    if (module.name.find("libc.so") == std::string::npos &&
        module.name.find("libm.so") == std::string::npos &&
        module.name.find("libstdc++") == std::string::npos) {
      continue;
    }
    for (const Detour& detour : PrepareModule(module).prepared) {
      detours.push_back(detour);
      patches.push_back(detour.patch);
    }
  }
  std::atomic<bool> stop{false};
  std::atomic<bool> right{true};
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      while (!stop) {
        if (Exercise() != expected) right = false;
      }
    });
  }
  double slowest = 0;
  for (int cycle = 0; cycle < 3; ++cycle) {
    const auto begin = Clock::now();
    absl::Status armed = ArmEntryPatches(patches);
    // A busy machine may not let a thread answer in time; nothing has changed.
    for (int i = 0; i < 4 && absl::IsUnavailable(armed); ++i) {
      armed = ArmEntryPatches(patches);
    }
    slowest = std::max(
        slowest, std::chrono::duration<double>(Clock::now() - begin).count());
    if (!armed.ok()) std::printf("%s\n", armed.ToString().c_str());
    right = right && armed.ok() && Exercise() == expected;
    right = DisarmEntryPatches(patches).ok() && right;
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
  uint64_t calls = 0;
  int called = 0;
  for (const Detour& detour : detours) {
    calls += detour.count();
    called += detour.count() != 0;
  }
  std::printf(
      "%zu entries, %d threads: armed in %.3f s at most; %d called, "
      "%llu calls\n",
      patches.size(), threads, slowest, called,
      static_cast<unsigned long long>(calls));
  std::fflush(stdout);
  return right && called > 100 && Exercise() == expected;
}

TEST_CASE("libc, libm and libstdc++ work with every entry armed") {
  for (const int threads : {0, 3}) {
    CAPTURE(threads);
    const pid_t child = fork();
    if (child == 0) {
      alarm(50);
      _exit(WholeLibrariesWork(threads) ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(status == 0);
  }
}

}  // namespace
}  // namespace retprobe
