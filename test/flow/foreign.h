// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_FLOW_FOREIGN_H_
#define RETPROBE_TEST_FLOW_FOREIGN_H_

#ifdef __cplusplus
extern "C" {
#endif

// In Objective-C (thrower.m).

// Throws an object that holds 7, `depth` frames further in.
long objc_throw(long depth);

// Calls `call(argument)`, and counts in `finals` however that ends.
long objc_finally(long (*call)(long), long argument, long* finals);

// Adds one to what an object that passes holds.
long objc_rethrow(long (*call)(long), long argument);

// Catches an object: minus what it holds. No other exception.
long objc_catch(long (*call)(long), long argument);

#ifdef __cplusplus
}
#endif

#endif  // RETPROBE_TEST_FLOW_FOREIGN_H_
