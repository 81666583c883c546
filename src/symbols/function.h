// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_FUNCTION_H_
#define RETPROBE_SYMBOLS_FUNCTION_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "symbols/module.h"

namespace retprobe {

// A function of a loaded module. Aliases (one address, several names) are one
// Function.
struct Function {
  // As in the symbol table, without version. Of several names the one a user
  // would write: exported before static, then the fewest leading underscores.
  std::string name;
  std::vector<std::string> aliases;  // its other names
  // Where its code is. 0 for an ifunc until ResolveIndirect.
  uintptr_t address = 0;
  // Bytes; from the unwind table when the symbol has none; 0: unknown.
  size_t size = 0;
  bool indirect = false;   // named by a STT_GNU_IFUNC symbol
  uintptr_t resolver = 0;  // of an ifunc: what chooses the address
};

// The functions of `module`, ascending by address (ifuncs by their resolver's).
// Dynamic symbols, and static ones where the file or a separate debug file
// still has them. Runs no code of the module: ifuncs come unresolved.
//
// Requires: the module stays loaded during the call.
// Errors: kFailedPrecondition saying why there is no symbol table.
absl::StatusOr<std::vector<Function>> ModuleFunctions(const Module& module);

// Fills in the address and size of an ifunc by asking its resolver; does
// nothing to any other function. What several ifuncs choose may be the same
// code, which may also be listed as a function of its own.
//
// Ask Probeable first: glibc has resolvers that are there for their effect.
//
// Requires: the module is relocated. One that another thread is loading just
//   now may not be; one whose dlopen has returned, or whose constructors run,
//   is.
// Errors: kFailedPrecondition: the resolver has no answer.
absl::Status ResolveIndirect(Function* function);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_FUNCTION_H_
