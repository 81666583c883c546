// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_EXPORT_H_
#define RETPROBE_EXPORT_H_

// Everything is built with hidden visibility; what carries this mark is the
// library's interface.
#define RETPROBE_API __attribute__((visibility("default")))

// What handlers call. Called through a slot that is bound when the program
// starts, where the compiler can: the library follows handlers' code to see
// which registers it changes, and a slot that is bound at the first call leads
// nowhere yet.
#if defined(__has_attribute)
#if __has_attribute(noplt)
#define RETPROBE_HANDLER_API __attribute__((noplt))
#endif
#endif
#ifndef RETPROBE_HANDLER_API
#define RETPROBE_HANDLER_API
#endif

#endif  // RETPROBE_EXPORT_H_
