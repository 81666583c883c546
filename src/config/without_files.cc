// SPDX-License-Identifier: Apache-2.0
#include "config/settings.h"

namespace retprobe {

void ReadConfigFile(const std::string& path, Settings& settings) {
  settings.AddError({.kind = Origin::Kind::kFile, .file = path}, "",
                    "files are not read here");
}

}  // namespace retprobe
