// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_CLI_CONFIG_REPORT_H_
#define RETPROBE_CLI_CONFIG_REPORT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "config/settings.h"

namespace retprobe::cli {

// What is in force, and where each value comes from.
std::string RenderSettings(const Settings& settings);
std::string RenderSettingsJson(const Settings& settings);

// What is wrong in `file`, which `settings` were read from.
std::string RenderCheckJson(absl::string_view file, const Settings& settings);

// What there is to set.
std::string RenderOptions();
std::string RenderOptionsJson(absl::Span<const Option> options);
std::string RenderOption(const Option& option);

}  // namespace retprobe::cli

#endif  // RETPROBE_CLI_CONFIG_REPORT_H_
