// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_TEST_ADAPTERS_TARGETS_H_
#define RETPROBE_TEST_ADAPTERS_TARGETS_H_

// Functions whose entries somebody else owns: targets.cc, compiled once in each
// of the ways that this directory has an adapter for.
struct Targets {
  // Arguments in all registers that can have them, and on the stack.
  double (*mixed)(long a, long b, long c, long d, long e, long f, double x,
                  double y, long g, double* z);
  // Variadic: the number of vector arguments is in al.
  double (*sum)(int count, ...);
  // By the stack, and back in an x87 register.
  long double (*precise)(long double x);
  // In a frame that is aligned more than the stack is.
  long (*aligned)(long bytes);
  // `depth` + 1 activations.
  long (*recurse)(long depth);
  // As many, all left by the int that the innermost throws.
  void (*throw_below)(long depth);
  // `depth` activations; the outermost catches what the one below throws again.
  long (*catch_below)(long depth);
};

extern const Targets kFentryTargets;
extern const Targets kInstrumentedTargets;
extern const Targets kPatchableTargets;
extern const Targets kXrayTargets;

#endif  // RETPROBE_TEST_ADAPTERS_TARGETS_H_
