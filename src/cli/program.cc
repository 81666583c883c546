// SPDX-License-Identifier: Apache-2.0
#include "cli/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace retprobe::cli {
namespace {

absl::Status Refuse(absl::string_view path, absl::string_view why) {
  return absl::FailedPreconditionError(absl::StrCat(path, " ", why));
}

std::string ReadHead(const std::string& path, size_t size) {
  std::string head(size, '\0');
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  ssize_t length = -1;
  if (file >= 0) {
    length = pread(file, head.data(), size, 0);
    close(file);
  }
  head.resize(length < 0 ? 0 : static_cast<size_t>(length));
  return head;
}

absl::StatusOr<std::string> FindInPath(const std::string& name) {
  const char* path = getenv("PATH");
  std::string denied;
  for (absl::string_view directory :
       absl::StrSplit(path == nullptr ? "/bin:/usr/bin" : path, ':')) {
    std::string candidate =
        absl::StrCat(directory.empty() ? "." : directory, "/", name);
    struct stat info;
    if (stat(candidate.c_str(), &info) != 0 || S_ISDIR(info.st_mode)) continue;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
    denied = candidate;
  }
  if (!denied.empty()) {
    return absl::PermissionDeniedError(
        absl::StrCat(denied, ": permission denied"));
  }
  return absl::NotFoundError(absl::StrCat(name, ": not found in PATH"));
}

absl::Status CheckExecutable(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    const std::string why = absl::StrCat(path, ": ", strerror(errno));
    return errno == EACCES ? absl::PermissionDeniedError(why)
                           : absl::NotFoundError(why);
  }
  if (S_ISDIR(info.st_mode)) {
    return absl::PermissionDeniedError(absl::StrCat(path, ": is a directory"));
  }
  if (access(path.c_str(), X_OK) != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": ", strerror(errno)));
  }
  return absl::OkStatus();
}

// Programs that gain privileges are started without preloading.
absl::Status CheckPrivileges(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return absl::OkStatus();
  const char* kind = nullptr;
  if ((info.st_mode & S_ISUID) != 0 && info.st_uid != geteuid()) {
    kind = "set-user-ID";
  } else if ((info.st_mode & S_ISGID) != 0 && info.st_gid != getegid()) {
    kind = "set-group-ID";
  } else if (geteuid() != 0 &&
             getxattr(path.c_str(), "security.capability", nullptr, 0) > 0) {
    kind = "privileged (file capabilities)";
  }
  if (kind == nullptr) return absl::OkStatus();
  return Refuse(path, absl::StrCat("is ", kind,
                                   "; preloading is disabled for such "
                                   "programs"));
}

absl::Status CheckElf(const std::string& path, const std::string& head) {
  Elf64_Ehdr header;
  if (head.size() < sizeof(header)) return Refuse(path, "is cut off");
  memcpy(&header, head.data(), sizeof(header));
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
    return Refuse(path, "is not a 64-bit x86 program");
  }
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    const size_t offset = header.e_phoff + i * sizeof(segment);
    if (offset + sizeof(segment) > head.size()) break;
    memcpy(&segment, head.data() + offset, sizeof(segment));
    if (segment.p_type != PT_INTERP) continue;
    const size_t end = segment.p_offset + segment.p_filesz;
    const std::string interpreter =
        end <= head.size() && segment.p_filesz != 0
            ? head.substr(segment.p_offset, segment.p_filesz - 1)
            : "ld-linux-x86-64.so.2";
    if (absl::StrContains(interpreter, "ld-linux-x86-64")) {
      return CheckPrivileges(path);
    }
    return Refuse(path, absl::StrCat("uses the dynamic linker ", interpreter,
                                     "; the agent needs glibc's"));
  }
  return Refuse(path,
                "is statically linked; no agent can be preloaded into it");
}

absl::Status CheckPreloadable(const std::string& path, int depth);

absl::Status CheckScript(const std::string& path, const std::string& head,
                         int depth) {
  const absl::string_view line = absl::string_view(head).substr(
      2, head.find('\n') == std::string::npos ? std::string::npos
                                              : head.find('\n') - 2);
  const std::vector<std::string> words =
      absl::StrSplit(absl::StripAsciiWhitespace(line), absl::ByAnyChar(" \t"),
                     absl::SkipEmpty());
  if (words.empty() || depth > 4) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, ": no interpreter behind #!"));
  }
  absl::Status status = CheckExecutable(words[0]);
  if (status.ok()) status = CheckPreloadable(words[0], depth + 1);
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(path, ": its interpreter ",
                                                  status.message()));
}

absl::Status CheckPreloadable(const std::string& path, int depth) {
  // The program headers follow the ELF header, as every linker has it.
  const std::string head = ReadHead(path, 4096);
  if (absl::StartsWith(head, "#!")) return CheckScript(path, head, depth);
  if (absl::StartsWith(head, ELFMAG)) return CheckElf(path, head);
  if (head.empty()) return CheckPrivileges(path);  // unreadable: try it
  return absl::UnavailableError("a text for /bin/sh");
}

}  // namespace

absl::StatusOr<Program> FindProgram(absl::Span<const std::string> command) {
  Program program;
  program.arguments.assign(command.begin(), command.end());
  program.path = command[0];
  if (!absl::StrContains(program.path, '/')) {
    auto found = FindInPath(program.path);
    if (!found.ok()) return found.status();
    program.path = *found;
  }
  absl::Status status = CheckExecutable(program.path);
  if (status.ok()) status = CheckPreloadable(program.path, 0);
  if (absl::IsUnavailable(status)) {  // as execvp(3) does
    program.arguments[0] = program.path;
    program.arguments.insert(program.arguments.begin(), "/bin/sh");
    program.path = "/bin/sh";
    status = CheckPreloadable(program.path, 0);
  }
  if (!status.ok()) return status;
  return program;
}

absl::StatusOr<std::string> FindAgent() {
  constexpr char kName[] = "libretprobe-agent.so";
  const char* override = getenv("RETPROBE_AGENT");
  std::vector<std::string> places;
  if (override != nullptr && *override != '\0') {
    places.push_back(override);
  } else {
    char self[PATH_MAX] = {};
    const ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    std::string directory(self, length < 0 ? 0 : static_cast<size_t>(length));
    directory.resize(
        directory.rfind('/') == std::string::npos ? 0 : directory.rfind('/'));
    for (const char* relative :
         {"/", "/../agent/", RETPROBE_AGENT_FROM_BINDIR}) {
      places.push_back(absl::StrCat(directory, relative, kName));
    }
  }
  std::string tried;
  for (const std::string& place : places) {
    char resolved[PATH_MAX];
    if (realpath(place.c_str(), resolved) != nullptr) {
      return std::string(resolved);
    }
    absl::StrAppend(&tried, tried.empty() ? "" : ", ", place);
  }
  return absl::FailedPreconditionError(
      absl::StrCat("the agent library is not there: ", tried));
}

int ExitStatusFor(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return 2;
    case absl::StatusCode::kPermissionDenied:
      return 126;
    case absl::StatusCode::kNotFound:
      return 127;
    default:
      return 125;
  }
}

}  // namespace retprobe::cli
