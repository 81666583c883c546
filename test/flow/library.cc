// SPDX-License-Identifier: Apache-2.0
#include "flow/library.h"

#include <unwind.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>

long library_destroyed;
long library_foreign_deleted;

namespace {

struct Local {
  ~Local() { __atomic_add_fetch(&library_destroyed, 1, __ATOMIC_RELAXED); }
};

void Delete(_Unwind_Reason_Code, _Unwind_Exception* exception) {
  __atomic_add_fetch(&library_foreign_deleted, 1, __ATOMIC_RELAXED);
  std::free(exception);
}

}  // namespace

long library_pass(long (*function)(long), long x) {
  Local local;
  return function(x) + 1;
}

long library_throw(long x) {
  if (x >= 0) throw std::runtime_error("library");
  return x;
}

long library_raise_foreign(long x) {
  if (x < 0) return x;
  auto* exception = static_cast<_Unwind_Exception*>(
      std::aligned_alloc(64, (sizeof(_Unwind_Exception) + 63) / 64 * 64));
  exception->exception_class = 0x464f524549474e00;  // not C++'s
  exception->exception_cleanup = Delete;
  _Unwind_RaiseException(exception);
  std::abort();  // nobody wants it
}
