// SPDX-License-Identifier: Apache-2.0
#include <doctest/doctest.h>
#include <stdio.h>
#include <sys/wait.h>

#include <string>
#include <string_view>

#include "objpool/memory_checkers.h"
#include "pool_backends.h"

#ifndef RETPROBE_DEBUG_CHECKS
#error "which is it?"
#endif

// Misuses pools in a process of its own. What must be noticed depends on the
// build: -Ddebug_checks=true, -Db_sanitize=address, -Dvalgrind=true.

namespace retprobe::test {
namespace {

struct Result {
  int status;
  std::string output;
};

Result Run(const std::string& command) {
  FILE* pipe = popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  Result result;
  char buffer[4096];
  while (const size_t got = fread(buffer, 1, sizeof(buffer), pipe)) {
    result.output.append(buffer, got);
  }
  result.status = pclose(pipe);
  return result;
}

// In every backend `misuse` must fail (or, when `dies` is false, not) and say
// `message`.
void Expect(const std::string& runner, const char* misuse, bool dies,
            std::string_view message) {
  for (const auto backend : Backends()) {
    const std::string command =
        "RETPROBE_OPTIONS=pool.backend=" + Name(backend) + " " + runner +
        RETPROBE_POOL_MISUSE + " " + misuse;
    CAPTURE(command);
    const Result result = Run(command);
    CAPTURE(result.output);
    CHECK((result.status != 0) == dies);
    if (message.empty()) {
      CHECK(result.output == "");
    } else {
      CHECK(result.output.find(message) != std::string::npos);
    }
  }
}

TEST_CASE("who uses a pool well hears nothing") {
  Expect("", "none", false, "");
}

TEST_CASE("debug checks stop who misuses a pool, and name the object") {
  if (!RETPROBE_DEBUG_CHECKS) {
    MESSAGE("skipped: configure with -Ddebug_checks=true");
    return;
  }
  const std::string kNotInUse = " was pushed while it was not in use";
  const std::string kNotOurs = " was pushed to a pool that it is not of";
  Expect("", "double_push", true, kNotInUse);
  Expect("", "drop_twice", true, kNotInUse);
  Expect("", "foreign", true, kNotOurs);
  Expect("", "interior", true, kNotOurs);
  if (!RETPROBE_ASAN) {
    Expect("", "write", true, " was written to after it had been pushed");
  }
  Expect("", "leak", false, "deleted while objects are in use: 5: 0x");
}

TEST_CASE("AddressSanitizer stops who uses idle objects") {
  if (!RETPROBE_ASAN) {
    MESSAGE("skipped: configure with -Db_sanitize=address");
    return;
  }
  Expect("", "write", true, "use-after-poison");
  Expect("", "read", true, "use-after-poison");
}

TEST_CASE("valgrind stops who uses idle objects") {
  if (!RETPROBE_VALGRIND) {
    MESSAGE("skipped: configure with -Dvalgrind=true");
    return;
  }
  const std::string valgrind = "valgrind -q --error-exitcode=9 ";
  if (Run(valgrind + "true").status != 0) {
    MESSAGE("skipped: valgrind does not work here");
    return;
  }
  const auto expect = [&](const char* misuse, std::string_view message) {
    const Result result = Run("RETPROBE_OPTIONS=pool.backend=cas " + valgrind +
                              RETPROBE_POOL_MISUSE + " " + misuse);
    CAPTURE(misuse);
    CAPTURE(result.output);
    CHECK((result.status != 0) == !message.empty());
    CHECK(result.output.find(message) != std::string::npos);
  };
  expect("none", "");
  expect("write", "Invalid write of size 1");
  expect("read", "Invalid read of size 1");
  expect("double_push", "Invalid free()");
}

}  // namespace
}  // namespace retprobe::test
