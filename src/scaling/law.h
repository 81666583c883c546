// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SCALING_LAW_H_
#define RETPROBE_SCALING_LAW_H_

namespace retprobe::scaling {

// Amdahl's law (1967) is Gunther's Universal Scalability Law (1993) without
// the cost of coherence, b = 0.
enum class Law { kAmdahl, kUsl };

const char* LawName(Law law);

// Throughput by threads: X(N) = g N / (1 + a (N - 1) + b N (N - 1)).
struct Curve {
  double g = 1;  // throughput of one thread; above 0
  double a = 0;  // the part that waits its turn (contention); at least 0
  double b = 0;  // what each pair of threads costs (coherence); at least 0

  double At(double threads) const;

  // The number of threads from which on more do not help: sqrt((1 - a) / b),
  // but 1 where a second thread is of no use, and infinite with b = 0.
  double Peak() const;
};

}  // namespace retprobe::scaling

#endif  // RETPROBE_SCALING_LAW_H_
