// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_EXPORT_H_
#define RETPROBE_EXPORT_H_

// Everything is built with hidden visibility; what carries this mark is the
// library's interface.
#define RETPROBE_API __attribute__((visibility("default")))

#endif  // RETPROBE_EXPORT_H_
