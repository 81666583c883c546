// SPDX-License-Identifier: Apache-2.0
#include "retprobe/return_probe.h"

// Compiles unless RETPROBE_THROWING is 1: then the handlers may throw.

retprobe::ReturnProbeOptions Options() {
  retprobe::ReturnProbeOptions options;
  options.entry_handler = [](retprobe::EntryContext&) noexcept(
                              RETPROBE_THROWING == 0) { return true; };
  options.return_handler =
      [](retprobe::ReturnContext&) noexcept(RETPROBE_THROWING == 0) {};
  return options;
}
