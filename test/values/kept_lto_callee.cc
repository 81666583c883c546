// SPDX-License-Identifier: Apache-2.0
#include "kept_lto.h"
// What that declares hidden.
#include "kept_callee.inc"
