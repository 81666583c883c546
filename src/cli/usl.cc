// SPDX-License-Identifier: Apache-2.0
#include "cli/usl.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "cli/output.h"

namespace retprobe::cli {

int RunUsl(char** argv) {
  char self[PATH_MAX] = {};
  const ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
  std::string directory(self, length < 0 ? 0 : static_cast<size_t>(length));
  directory.resize(directory.rfind('/') + 1);  // npos + 1 is 0
  // As built, or as installed.
  for (const char* relative : {"../scaling/", RETPROBE_LIBEXEC_FROM_BINDIR}) {
    const std::string program =
        absl::StrCat(directory, relative, "retprobe-usl");
    execv(program.c_str(), argv);
    if (errno != ENOENT) {
      Complain(absl::StrCat(program, ": ", strerror(errno)));
      return 1;
    }
  }
  Complain(
      "usl: retprobe was built without it (meson option scaling, which needs "
      "the Ceres solver)");
  return 1;
}

}  // namespace retprobe::cli
