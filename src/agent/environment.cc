// SPDX-License-Identifier: Apache-2.0
#include "agent/environment.h"

#include <cstddef>
#include <cstring>

#include "agent/session.h"

namespace retprobe::agent {
namespace {

constexpr char kPreload[] = "LD_PRELOAD";

char** FindEntry(char** envp, const char* name) {
  const size_t length = strlen(name);
  for (char** entry = envp; entry != nullptr && *entry != nullptr; ++entry) {
    if (strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') {
      return entry;
    }
  }
  return nullptr;
}

void RemoveEntry(char** entry) {
  if (entry == nullptr) return;
  do {
    entry[0] = entry[1];
  } while (*entry++ != nullptr);
}

}  // namespace

const char* FindVariable(char** envp, const char* name) {
  char** entry = FindEntry(envp, name);
  return entry == nullptr ? nullptr : *entry + strlen(name) + 1;
}

void RestoreEnvironment(char** envp, bool preload_was_set) {
  RemoveEntry(FindEntry(envp, session::kSocketVariable));
  char** preload = FindEntry(envp, kPreload);
  if (preload == nullptr) return;
  if (!preload_was_set) {
    RemoveEntry(preload);
    return;
  }
  char* value = *preload + sizeof(kPreload);  // behind the '='
  const char* rest = strchr(value, ':');
  if (rest == nullptr) {
    *value = '\0';
  } else {
    memmove(value, rest + 1, strlen(rest + 1) + 1);
  }
}

}  // namespace retprobe::agent
