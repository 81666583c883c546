// SPDX-License-Identifier: Apache-2.0
#include "instrumented.h"

void __cyg_profile_func_enter(void*, void*) {}
void __cyg_profile_func_exit(void*, void*) {}
