// SPDX-License-Identifier: Apache-2.0
// Every function of the libraries this test runs with.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <elf.h>
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
#include <set>
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

// Libraries that this program does not need itself. What is not installed is
// passed over, and said to be.
void* Load(const char* name) {
  void* const library = dlopen(name, RTLD_NOW);
  if (library == nullptr) MESSAGE(name << " is not installed");
  return library;
}

void LoadMore() {
  for (const char* name :
       {"libcrypto.so.3", "libsqlite3.so.0", "libpython3.11.so.1.0"}) {
    Load(name);
  }
}

struct Tally {
  std::vector<Detour> prepared;
  std::map<std::string, int> refused;
  std::map<std::string, std::string> example;
  std::string wrong;
  size_t traps = 0;
  size_t diverted = 0;
  double seconds = 0;
};

// What only the unwind table knows: static functions of a stripped module, and
// cold parts.
void AddNameless(const Module& module, std::vector<Function>* functions) {
  std::set<uintptr_t> known;
  for (const Function& function : *functions) known.insert(function.address);
  for (size_t i = 0; i < module.program_header_count; ++i) {
    const ElfW(Phdr)& segment = module.program_headers[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    for (const FunctionBounds& bounds :
         UnwindTableRanges(module.bias + segment.p_vaddr)) {
      if (!known.insert(bounds.begin).second) continue;
      Function function;
      function.name = absl::StrCat("0x", absl::Hex(bounds.begin));
      function.address = bounds.begin;
      function.size = bounds.end - bounds.begin;
      functions->push_back(function);
    }
  }
}

Tally PrepareModule(const Module& module, bool nameless = false) {
  Tally tally;
  absl::StatusOr<std::vector<Function>> functions = ModuleFunctions(module);
  REQUIRE(functions.ok());
  if (nameless) AddNameless(module, &*functions);
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
    tally.traps += detour.patch->traps();
    tally.diverted += detour.patch->diversion != nullptr;
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
                      << tally.traps << " by int3, " << tally.diverted
                      << " with diversions, " << refused << " refused, "
                      << tally.seconds << " s");
  for (const auto& [kind, count] : tally.refused) {
    MESSAGE("  " << count << " " << kind << ":"
                 << tally.example.at(kind).substr(0, 150));
  }
}

TEST_CASE(
    "the moved instructions of every library function are the originals") {
  LoadMore();
  for (const Module& module : LoadedModules()) {
    CAPTURE(module.name);
    const Tally tally = PrepareModule(module, /*nameless=*/true);
    Report(module, tally);
    CHECK(tally.wrong == "");
    size_t refused = 0;
    for (const auto& [kind, count] : tally.refused) {
      refused += static_cast<size_t>(count);
    }
    CHECK(refused * 200 <= tally.prepared.size() + refused + 200);
    if (module.main_program) continue;  // has examples of them
    CHECK(tally.traps * 50 <= tally.prepared.size() + 50);
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

std::string CodeOf(const Module& module) {
  std::string code;
  for (size_t i = 0; i < module.program_header_count; ++i) {
    const ElfW(Phdr)& segment = module.program_headers[i];
    if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
    code.append(reinterpret_cast<const char*>(module.bias + segment.p_vaddr),
                segment.p_memsz);
  }
  return code;
}

// Something of each of the libraries that Load() gives.
std::string ExerciseMore() {
  std::string result;
  if (void* crypto = Load("libcrypto.so.3")) {
    const auto digest =
        reinterpret_cast<unsigned char* (*)(const unsigned char*, size_t,
                                            unsigned char*)>(
            dlsym(crypto, "SHA256"));
    unsigned char hash[32];
    const std::string text(100'000, 'x');
    digest(reinterpret_cast<const unsigned char*>(text.data()), text.size(),
           hash);
    result.append(reinterpret_cast<char*>(hash), sizeof(hash));
  }
  if (void* sqlite = Load("libsqlite3.so.0")) {
    const auto open = reinterpret_cast<int (*)(const char*, void**)>(
        dlsym(sqlite, "sqlite3_open"));
    const auto run = reinterpret_cast<int (*)(
        void*, const char*, int (*)(void*, int, char**, char**), void*,
        char**)>(dlsym(sqlite, "sqlite3_exec"));
    const auto close =
        reinterpret_cast<int (*)(void*)>(dlsym(sqlite, "sqlite3_close"));
    void* database = nullptr;
    open(":memory:", &database);
    run(
        database,
        "create table t(a, b); with recursive c(x) as (select 1 union all "
        "select x + 1 from c where x < 3000) insert into t select x, "
        "hex(x * x) from c; create index i on t(b); select count(*), sum(a), "
        "max(b), group_concat(a) from t where b > '3' and a like '%7%'",
        [](void* text, int count, char** values, char**) {
          for (int i = 0; i < count; ++i) {
            *static_cast<std::string*>(text) += values[i];
          }
          return 0;
        },
        &result, nullptr);
    close(database);
  }
  if (void* python = Load("libpython3.11.so.1.0")) {
    const auto begin =
        reinterpret_cast<void (*)(int)>(dlsym(python, "Py_InitializeEx"));
    const auto run = reinterpret_cast<int (*)(const char*)>(
        dlsym(python, "PyRun_SimpleString"));
    const auto end =
        reinterpret_cast<int (*)()>(dlsym(python, "Py_FinalizeEx"));
    begin(0);
    const int status = run(
        "import sys, threading\n"
        "done = []\n"
        "def work(n): done.append(sorted(str(i) for i in range(n))[-1])\n"
        "threads = [threading.Thread(target=work, args=(99,)) for _ in 'abc']\n"
        "for t in threads: t.start()\n"
        "for t in threads: t.join()\n"
        "assert done == ['98'] * 3\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: pass\n");
    absl::StrAppend(&result, status, end());
  }
  return result;
}

// Arms all that has a name in every module, this one and the dynamic linker's
// apart, works, disarms, and compares every byte.
bool EverythingComesAndGoes() {
  LoadMore();
  std::vector<Module> modules;
  std::vector<std::string> before;
  std::vector<EntryPatch*> patches;
  for (const Module& module : LoadedModules()) {
    if (module.main_program || module.name.starts_with("ld-linux") ||
        module.name.starts_with("linux-vdso")) {
      continue;
    }
    modules.push_back(module);
    before.push_back(CodeOf(module));
    for (const Detour& detour : PrepareModule(module).prepared) {
      patches.push_back(detour.patch);
    }
  }
  bool right = true;
  const auto begin = Clock::now();
  const absl::Status armed = ArmEntryPatches(patches);
  const double seconds =
      std::chrono::duration<double>(Clock::now() - begin).count();
  if (!armed.ok()) std::printf("%s\n", armed.ToString().c_str());
  size_t changed = 0;
  for (size_t i = 0; i < modules.size(); ++i) {
    changed += CodeOf(modules[i]) != before[i];
  }
  const std::string during = ExerciseMore();
  right = DisarmEntryPatches(patches).ok() && armed.ok() && right;
  for (size_t i = 0; i < modules.size(); ++i) {
    if (CodeOf(modules[i]) == before[i]) continue;
    std::printf("%s is not as before\n", modules[i].name.c_str());
    right = false;
  }
  std::printf("%zu entries of %zu modules (%zu changed), armed in %.3f s\n",
              patches.size(), modules.size(), changed, seconds);
  std::fflush(stdout);
  return right && changed + 3 > modules.size() && during == ExerciseMore();
}

TEST_CASE("every entry of every module armed and disarmed is as before") {
  const pid_t child = fork();
  if (child == 0) {
    alarm(50);
    _exit(EverythingComesAndGoes() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK(status == 0);
}

}  // namespace
}  // namespace retprobe
