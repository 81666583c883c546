// SPDX-License-Identifier: Apache-2.0
#include "uretprobe.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace {

// Writes `text` at once, as tracefs wants it.
absl::Status Write(const std::string& path, const std::string& text,
                   int flags = O_WRONLY) {
  const int file = open(path.c_str(), flags | O_CLOEXEC);
  if (file < 0)
    return absl::UnavailableError(absl::StrCat(path, ": ", strerror(errno)));
  const ssize_t written = write(file, text.data(), text.size());
  const int error = errno;
  close(file);
  if (written == static_cast<ssize_t>(text.size())) return absl::OkStatus();
  return absl::UnavailableError(
      absl::StrCat("writing '", text, "' to ", path, ": ", strerror(error)));
}

// The folder of tracefs, mounted if need be; empty when there is none.
std::string Tracefs() {
  for (const char* folder :
       {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    if (access(absl::StrCat(folder, "/uprobe_events").c_str(), W_OK) == 0)
      return folder;
  }
  if (mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nullptr) == 0 &&
      access("/sys/kernel/tracing/uprobe_events", W_OK) == 0)
    return "/sys/kernel/tracing";
  return "";
}

// Where `address` lies in the file it is mapped from: "/path:0xoffset".
absl::StatusOr<std::string> FilePlace(const void* address) {
  const auto wanted = reinterpret_cast<uintptr_t>(address);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin, end, offset;
    int path = 0;
    if (std::sscanf(line.c_str(),
                    "%" SCNxPTR "-%" SCNxPTR " %*s %" SCNxPTR " %*s %*s %n",
                    &begin, &end, &offset, &path) < 3 ||
        wanted < begin || wanted >= end)
      continue;
    return absl::StrFormat("%s:%#x", line.substr(path),
                           wanted - begin + offset);
  }
  return absl::NotFoundError("the function is in no mapped file");
}

}  // namespace

Uretprobe::Uretprobe(std::string tracefs, std::string name)
    : tracefs_(std::move(tracefs)), name_(std::move(name)) {}

std::string Uretprobe::InstanceFolder() const {
  return absl::StrCat(tracefs_, "/instances/", name_);
}

absl::StatusOr<std::unique_ptr<Uretprobe>> Uretprobe::Attach(
    const void* function) {
  if (geteuid() != 0) return absl::PermissionDeniedError("needs root");
  const std::string tracefs = Tracefs();
  if (tracefs.empty())
    return absl::UnavailableError("no tracefs with uprobe_events");
  static int count = 0;
  std::unique_ptr<Uretprobe> probe(new Uretprobe(
      tracefs, absl::StrCat("retprobe_bench_", getpid(), "_", ++count)));
  if (absl::Status status = probe->Enable(function); !status.ok())
    return status;
  return probe;
}

absl::Status Uretprobe::Enable(const void* function) {
  absl::StatusOr<std::string> place = FilePlace(function);
  if (!place.ok()) return place.status();
  absl::Status status = Write(
      tracefs_ + "/uprobe_events",
      absl::StrCat("r:", name_, "/", name_, " ", *place), O_WRONLY | O_APPEND);
  if (!status.ok()) return status;
  if (mkdir(InstanceFolder().c_str(), 0700) != 0)
    return absl::UnavailableError(
        absl::StrCat(InstanceFolder(), ": ", strerror(errno)));
  status.Update(Write(InstanceFolder() + "/tracing_on", "0"));
  status.Update(
      Write(absl::StrCat(InstanceFolder(), "/events/", name_, "/enable"), "1"));
  return status;
}

Uretprobe::~Uretprobe() {
  Write(absl::StrCat(InstanceFolder(), "/events/", name_, "/enable"), "0")
      .IgnoreError();
  rmdir(InstanceFolder().c_str());
  Write(tracefs_ + "/uprobe_events", absl::StrCat("-:", name_, "/", name_),
        O_WRONLY | O_APPEND)
      .IgnoreError();
}

long Uretprobe::Hits() const {
  std::ifstream profile(tracefs_ + "/uprobe_profile");
  std::string file, event;
  for (long hits; profile >> file >> event >> hits;) {
    if (event == name_) return hits;
  }
  return -1;
}
