// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_SYMBOLS_SYMBOLS_H_
#define RETPROBE_SYMBOLS_SYMBOLS_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace retprobe {

// A loaded ELF file.
struct Module {
  std::string path;  // of the main program: what /proc/self/exe points to
  std::string name;  // the path's last component
  uintptr_t bias;    // what to add to the file's addresses
  uintptr_t begin;   // lowest and highest mapped address
  uintptr_t end;
};

// A function of a loaded module. Aliases (one address, several names) are one
// Function.
struct Function {
  std::string name;                  // as in the symbol table, without version
  std::vector<std::string> aliases;  // its other names
  uintptr_t address;                 // of an ifunc: what this process runs
  size_t size;                       // bytes; from the unwind table when the symbol has none; 0 unknown
  bool indirect;                     // named by a STT_GNU_IFUNC symbol
};

// All modules of the process, the main program first. Without the vdso.
std::vector<Module> LoadedModules();

// The functions of `module`, by address. Dynamic and, where the file still has
// them, static symbols.
absl::StatusOr<std::vector<Function>> ModuleFunctions(const Module& module);

// The C++ name of `mangled`, or `mangled` itself.
std::string Demangle(absl::string_view mangled);

// "module:function" or "function", each part a shell glob (* ? [a-z]). The
// function part is tried on mangled and demangled names and aliases, the module
// part on the module's name and path, also without the version behind ".so".
class Pattern {
 public:
  // Errors: kInvalidArgument: empty, or an unclosed bracket, with its column.
  static absl::StatusOr<Pattern> Parse(absl::string_view text);
  bool MatchesModule(const Module& module) const;
  bool MatchesFunction(const Function& function) const;
  const std::string& text() const { return text_; }

 private:
  std::string text_;
  std::string module_;
  std::string function_;
};

// Finds the one function that `symbol` ("module:function" or "function", no
// globs) names. Errors: kNotFound with the nearest name; kInvalidArgument with
// the candidates when there are several.
absl::StatusOr<Function> FindFunction(absl::string_view symbol);

// Ok, or kFailedPrecondition saying why a function must not be probed whatever
// its code looks like (returns twice, looks at its return address, never
// returns, part of the unwinder, of the dynamic linker or of ourselves).
absl::Status Probeable(const Module& module, const Function& function);

// The bounds of the function that contains `address` by its module's unwind
// table; {0, 0} when there are none. Allocates nothing.
struct FunctionBounds {
  uintptr_t begin;
  uintptr_t end;
};
FunctionBounds BoundsFromUnwindTable(uintptr_t address);

// Every function range of the module that contains `address`, from its unwind
// table, ascending. For sweeps over a module's code.
std::vector<FunctionBounds> UnwindTableRanges(uintptr_t address);

}  // namespace retprobe

#endif  // RETPROBE_SYMBOLS_SYMBOLS_H_
