// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_MEMORY_MAP_H_
#define RETPROBE_SYMBOLS_MEMORY_MAP_H_

#include <cstdint>
#include <string>

namespace retprobe {

// The file that /proc/self/maps names at `address`, without " (deleted)";
// empty when there is none.
std::string MappedPath(uintptr_t address);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_MEMORY_MAP_H_
