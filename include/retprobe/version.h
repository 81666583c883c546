// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_VERSION_H_
#define RETPROBE_VERSION_H_

// The version of the interface; a test holds it equal to Meson's.
#define RETPROBE_VERSION_MAJOR 0
#define RETPROBE_VERSION_MINOR 1
#define RETPROBE_VERSION_PATCH 0
#define RETPROBE_VERSION_STRING "0.1.0"

#endif  // RETPROBE_VERSION_H_
