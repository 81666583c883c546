// SPDX-License-Identifier: Apache-2.0
// Functions of another language that throw, catch, and pass on.
#include <objc/runtime.h>

#include "flow/foreign.h"

__attribute__((objc_root_class))
@interface Thrown {
 @public
  Class isa;
  long value;
}
+ (Thrown*)hold:(long)value;
@end

@implementation Thrown
+ (Thrown*)hold:(long)value {
  // One for each thread: C++ does not let go what it has caught here.
  static __thread Thrown* one;
  if (!one) one = class_createInstance(self, 0);
  one->value = value;
  return one;
}
@end

__attribute__((noinline, noclone)) long objc_throw(long depth) {
  if (depth < 0) return 0;
  if (depth == 0) @throw [Thrown hold:7];
  long below = objc_throw(depth - 1);
  __asm__ volatile("");
  return below + 1;
}

__attribute__((noinline, noclone)) long objc_finally(long (*call)(long),
                                                     long argument,
                                                     long* finals) {
  @try {
    return call(argument) + 1;
  } @finally {
    ++*finals;
  }
}

__attribute__((noinline, noclone)) long objc_rethrow(long (*call)(long),
                                                     long argument) {
  @try {
    return call(argument) + 1;
  } @catch (Thrown* thrown) {
    ++thrown->value;
    @throw;
  }
}

__attribute__((noinline, noclone)) long objc_catch(long (*call)(long),
                                                   long argument) {
  @try {
    return call(argument) + 1;
  } @catch (Thrown* thrown) {
    return -thrown->value;
  }
}
