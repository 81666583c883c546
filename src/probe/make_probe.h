// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_PROBE_MAKE_PROBE_H_
#define RETPROBE_PROBE_MAKE_PROBE_H_

#include "absl/container/flat_hash_map.h"
#include "probe/handler_code.h"
#include "probe/probe.h"

namespace retprobe {

// What handlers' code does, read once for all probes of one attachment.
class HandlerReader {
 public:
  // Null: no handler. The reference is good until the next call.
  const HandlerCode& Read(const void* function);

 private:
  absl::flat_hash_map<const void*, HandlerCode> known_;
};

// A probe that is not attached yet, without the filter of its options.
ReturnProbe::Probe* MakeProbe(ReturnProbeOptions options,
                              HandlerReader& reader);

}  // namespace retprobe

#endif  // RETPROBE_PROBE_MAKE_PROBE_H_
