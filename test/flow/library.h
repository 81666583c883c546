// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_FLOW_LIBRARY_H_
#define RETPROBE_TEST_FLOW_LIBRARY_H_

// Frames in another module: library.cc is a shared library.
extern "C" {
// Calls `function(x)` in a frame with a destructor; counts those that ran.
long library_pass(long (*function)(long), long x);
extern long library_destroyed;
// Throws std::runtime_error("library").
long library_throw(long x);
// Raises an exception that is no C++ exception, by the unwinder alone.
long library_raise_foreign(long x);
extern long library_foreign_deleted;
}

#endif  // RETPROBE_TEST_FLOW_LIBRARY_H_
