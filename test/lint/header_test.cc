// SPDX-License-Identifier: Apache-2.0
// Compiled once for each public header, with nothing before it: a header
// includes what it uses, and twice is as good as once.
#include RETPROBE_HEADER
#include RETPROBE_HEADER  // NOLINT(readability-duplicate-include)
