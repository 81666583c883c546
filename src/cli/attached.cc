// SPDX-License-Identifier: Apache-2.0
#include "cli/attached.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/output.h"
#include "cli/report.h"
#include "cli/session_server.h"

namespace retprobe::cli {
namespace {

constexpr int kFailed = 125;
constexpr char kFileName[] = "/memfd:retprobe";  // of the agent's memory

// Such a file, as the process has mapped it.
struct Mapping {
  std::string range;  // "7f00-7f10"
  ino_t inode;
};

std::vector<std::string> Lines(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::vector<Mapping> AgentsMappings(const std::string& process) {
  std::vector<Mapping> mappings;
  for (const std::string& line : Lines(process + "/maps")) {
    // address perms offset dev inode path
    const std::vector<std::string> parts =
        absl::StrSplit(line, ' ', absl::SkipEmpty());
    ino_t inode;
    if (parts.size() >= 6 && parts[5] == kFileName &&
        absl::SimpleAtoi(parts[4], &inode)) {
      mappings.push_back({parts[0], inode});
    }
  }
  return mappings;
}

bool IsFile(const std::string& path, ino_t inode) {
  char target[64];
  struct stat info;
  const ssize_t length = readlink(path.c_str(), target, sizeof(target));
  return length > 0 &&
         absl::StartsWith(
             absl::string_view(target, static_cast<size_t>(length)),
             kFileName) &&
         stat(path.c_str(), &info) == 0 && info.st_ino == inode;
}

// Those that are numbers.
std::vector<std::string> Entries(const std::string& folder) {
  std::vector<std::string> names;
  DIR* open = opendir(folder.c_str());
  if (open == nullptr) return names;
  while (const dirent* entry = readdir(open)) {
    if (absl::ascii_isdigit(static_cast<unsigned char>(entry->d_name[0]))) {
      names.push_back(entry->d_name);
    }
  }
  closedir(open);
  return names;
}

// Through the mapping, which takes privileges, or through the descriptor that
// the tracing command has.
UniqueFd OpenMapped(const std::string& process, const Mapping& mapping) {
  UniqueFd file(open((process + "/map_files/" + mapping.range).c_str(),
                     O_RDONLY | O_CLOEXEC));
  if (file.valid()) return file;
  for (const std::string& other : Entries("/proc")) {
    const std::string folder = absl::StrCat("/proc/", other, "/fd");
    for (const std::string& name : Entries(folder)) {
      const std::string path = absl::StrCat(folder, "/", name);
      if (!IsFile(path, mapping.inode)) continue;
      return UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
    }
  }
  return file;
}

// As the process itself sees it, in its own namespace.
uint32_t OwnPid(const std::string& process) {
  for (const std::string& line : Lines(process + "/status")) {
    if (!absl::StartsWith(line, "NSpid:")) continue;
    const std::vector<std::string> ids =
        absl::StrSplit(line, '\t', absl::SkipEmpty());
    uint32_t id = 0;
    if (absl::SimpleAtoi(ids.back(), &id)) return id;
  }
  return 0;
}

absl::StatusOr<Process> Look(int pid) {
  const std::string folder = absl::StrCat("/proc/", pid);
  if (access(folder.c_str(), F_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("no process ", pid));
  }
  if (!UniqueFd(open((folder + "/maps").c_str(), O_RDONLY | O_CLOEXEC))
           .valid()) {
    return absl::PermissionDeniedError(
        absl::StrCat("process ", pid, ": ", strerror(errno)));
  }
  Process process;
  process.pid = pid;
  bool closed = false;
  const uint32_t own_pid = OwnPid(folder);
  for (const Mapping& mapping : AgentsMappings(folder)) {
    UniqueFd file = OpenMapped(folder, mapping);
    closed |= !file.valid();
    auto segment = SegmentReader::Open(std::move(file));
    // A forked child that is not followed has its parent's mapped.
    if (segment != nullptr && segment->pid() == own_pid) {
      process.segments.push_back(std::move(segment));
    }
  }
  if (!process.segments.empty()) return process;
  return absl::FailedPreconditionError(
      closed ? absl::StrCat("process ", pid, " is probed, but neither its ",
                            "mappings nor the files of its retprobe can be ",
                            "read by this user")
             : absl::StrCat("process ", pid, " has no agent of this retprobe; ",
                            "programs under retprobe trace have one"));
}

}  // namespace

int RunAttached(const Options& options) {
  const absl::StatusOr<Process> process = Look(options.attached);
  if (!process.ok()) {
    Complain(process.status().message());
    return kFailed;
  }
  const auto output = OpenOutput(options.output, STDOUT_FILENO);
  if (!output.ok()) {
    Complain(output.status().message());
    return kFailed;
  }
  Report report;
  SessionServer::AddTo(report, *process);
  for (const std::string& error : report.errors) Complain(error);
  if (options.refused) KeepRefused(report);
  const std::string text =
      options.json ? RenderJson(report, true) : RenderAttached(report);
  return WriteAll(output->get(), text) ? 0 : kFailed;
}

}  // namespace retprobe::cli
