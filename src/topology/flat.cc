// SPDX-License-Identifier: Apache-2.0
#include "base/cpu.h"
#include "topology/topology.h"

namespace retprobe {

Topology DetectTopology() { return FlatTopology(PossibleCpus()); }

}  // namespace retprobe
