// SPDX-License-Identifier: Apache-2.0
#include "symbols/memory_map.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace retprobe {
namespace {

// "begin-end perms offset dev inode     path"
constexpr int kFieldsBeforePath = 5;

std::string ReadMaps() {
  std::string text;
  const int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char buffer[16384];
  while (true) {
    const ssize_t count = read(fd, buffer, sizeof(buffer));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(buffer, count);
  }
  close(fd);
  return text;
}

absl::string_view PathField(absl::string_view line) {
  for (int field = 0; field < kFieldsBeforePath; ++field) {
    const size_t space = line.find(' ');
    if (space == absl::string_view::npos) return {};
    line.remove_prefix(space);
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  }
  return line;
}

bool Covers(absl::string_view line, uintptr_t address) {
  const size_t dash = line.find('-');
  const size_t space = line.find(' ');
  if (dash == absl::string_view::npos || space < dash) return false;
  uint64_t begin;
  uint64_t end;
  return absl::SimpleHexAtoi(line.substr(0, dash), &begin) &&
         absl::SimpleHexAtoi(line.substr(dash + 1, space - dash - 1), &end) &&
         address >= begin && address < end;
}

}  // namespace

std::string MappedPath(uintptr_t address) {
  const std::string maps = ReadMaps();
  absl::string_view rest = maps;
  while (!rest.empty()) {
    const absl::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (!Covers(line, address)) continue;
    const absl::string_view path = PathField(line);
    if (path.empty() || path[0] != '/') return {};
    return std::string(absl::StripSuffix(path, " (deleted)"));
  }
  return {};
}

}  // namespace retprobe
