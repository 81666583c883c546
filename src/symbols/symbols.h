// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_SYMBOLS_H_
#define RETPROBE_SYMBOLS_SYMBOLS_H_

// What the process has loaded, by name: the whole room.
#include "symbols/cxx_name.h"
#include "symbols/entry_offset.h"
#include "symbols/find_code.h"
#include "symbols/find_function.h"
#include "symbols/function.h"
#include "symbols/module.h"
#include "symbols/pattern.h"
#include "symbols/probeable.h"
#include "symbols/unwind_table.h"

#endif  // RETPROBE_SYMBOLS_SYMBOLS_H_
