// SPDX-License-Identifier: Apache-2.0
#include "kept_callee.inc"
#include "kept_lto.h"
