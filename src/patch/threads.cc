// SPDX-License-Identifier: Apache-2.0
#include "patch/threads.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "arch/arch.h"

namespace retprobe {
namespace {

pid_t ThisThread() { return static_cast<pid_t>(arch::SystemCall(SYS_gettid)); }

// Reads /proc/self/task/THREAD/NAME as a string; the number of bytes read.
size_t ReadTaskFile(pid_t thread, const char* name, char* text, size_t size) {
  char path[64];
  std::snprintf(path, sizeof(path), "/proc/self/task/%d/%s", thread, name);
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  size_t length = 0;
  ssize_t got;
  while (length + 1 < size &&
         (got = read(file, text + length, size - 1 - length)) > 0) {
    length += static_cast<size_t>(got);
  }
  close(file);
  text[length] = '\0';
  return length;
}

// Where `name`, "\n" and all, is followed by its value in `text`, or "0".
const char* Field(const char* text, const char* name) {
  const char* const line = std::strstr(text, name);
  return line == nullptr ? "0" : line + std::strlen(name);
}

long Filters(const char* text) {
  return std::strtol(Field(text, "\nSeccomp_filters:\t"), nullptr, 10);
}

}  // namespace

bool OtherThreads(std::vector<pid_t>* threads) {
  threads->clear();
  const int directory =
      open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return false;
  const pid_t self = ThisThread();
  alignas(dirent64) char buffer[8192];
  long got;
  while ((got = arch::SystemCall(SYS_getdents64, directory,
                                 reinterpret_cast<long>(buffer),
                                 sizeof(buffer))) > 0) {
    for (long offset = 0; offset < got;) {
      const auto* entry = reinterpret_cast<const dirent64*>(buffer + offset);
      offset += entry->d_reclen;
      const pid_t thread = std::atoi(entry->d_name);
      if (thread != 0 && thread != self) threads->push_back(thread);
    }
  }
  close(directory);
  return got == 0;
}

ThreadState StateOf(pid_t thread) {
  // "running", or the system call's number and arguments, or -1 in place of
  // both; then sp and pc. The kernel answers for our own threads without asking
  // for ptrace rights.
  char text[256];
  if (ReadTaskFile(thread, "syscall", text, sizeof(text)) == 0) {
    if (arch::SystemCall(SYS_tgkill, arch::SystemCall(SYS_getpid), thread, 0) !=
        0) {
      return {ThreadState::kGone, 0, 0};
    }
    return {ThreadState::kRunning, 0, 0};  // a kernel without that file
  }
  char* const pc = std::strrchr(text, ' ');
  if (pc == nullptr) return {ThreadState::kRunning, 0, 0};
  *pc = '\0';
  const char* const sp = std::strrchr(text, ' ');
  if (sp == nullptr) return {ThreadState::kRunning, 0, 0};
  return {ThreadState::kBlocked, std::strtoul(pc + 1, nullptr, 16),
          std::strtoul(sp + 1, nullptr, 16)};
}

ThreadStatus StatusOf(pid_t thread) {
  ThreadStatus status;
  char text[4096];
  if (ReadTaskFile(thread, "status", text, sizeof(text)) == 0) return status;
  status.state = Field(text, "\nState:\t")[0];
  status.blocked = std::strtoull(Field(text, "\nSigBlk:\t"), nullptr, 16);
  status.strict = Field(text, "\nSeccomp:\t")[0] == '1';
  if (const long filters = Filters(text); filters > 0) {
    if (ReadTaskFile(ThisThread(), "status", text, sizeof(text)) == 0) {
      return status;
    }
    status.strict |= filters > Filters(text);
  }
  return status;
}

}  // namespace retprobe
