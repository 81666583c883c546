// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_FUNCTION_BUILDER_H_
#define RETPROBE_SYMBOLS_FUNCTION_BUILDER_H_

#include <vector>

#include "symbols/function.h"
#include "symbols/module_symbols.h"

namespace retprobe {

// One Function per address and kind, from all its names.
std::vector<Function> BuildFunctions(std::vector<ElfSymbol> symbols);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_FUNCTION_BUILDER_H_
