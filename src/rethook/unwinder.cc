// SPDX-License-Identifier: Apache-2.0
#include "rethook/unwinder.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

#include <atomic>

#include "rethook/llvm_cursor.h"

namespace retprobe {
namespace {

// What a module's dynamic section says about its symbols.
struct DynamicSymbols {
  uintptr_t bias = 0;
  const ElfW(Sym) * symbols = nullptr;
  const char* strings = nullptr;
  const uint32_t* gnu_hash = nullptr;

  // The address of the defined symbol `name`, or 0. The DT_GNU_HASH walk of the
  // dynamic linker (sysv gABI supplement).
  uintptr_t Find(const char* name) const;
};

bool Equal(const char* a, const char* b) {
  while (*a != '\0' && *a == *b) ++a, ++b;
  return *a == *b;
}

uintptr_t DynamicSymbols::Find(const char* name) const {
  if (symbols == nullptr || strings == nullptr || gnu_hash == nullptr) return 0;
  uint32_t hash = 5381;
  for (const char* c = name; *c != '\0'; ++c) {
    hash = hash * 33 + static_cast<unsigned char>(*c);
  }
  const uint32_t buckets = gnu_hash[0];
  const uint32_t first = gnu_hash[1];
  const uint32_t* bucket =
      gnu_hash + 4 + gnu_hash[2] * (sizeof(ElfW(Addr)) / 4);
  const uint32_t* chain = bucket + buckets;
  uint32_t index = bucket[hash % buckets];
  if (index < first) return 0;
  for (;; ++index) {
    const uint32_t entry = chain[index - first];
    if ((entry | 1) == (hash | 1) &&
        Equal(strings + symbols[index].st_name, name) &&
        symbols[index].st_shndx != SHN_UNDEF) {
      return bias + symbols[index].st_value;
    }
    if ((entry & 1) != 0) return 0;
  }
}

DynamicSymbols SymbolsOf(const link_map* map) {
  DynamicSymbols result;
  result.bias = map->l_addr;
  for (const ElfW(Dyn)* entry = map->l_ld; entry->d_tag != DT_NULL; ++entry) {
    // glibc has relocated these on x86-64.
    const uintptr_t address = entry->d_un.d_ptr;
    if (entry->d_tag == DT_SYMTAB) {
      result.symbols = reinterpret_cast<const ElfW(Sym)*>(address);
    } else if (entry->d_tag == DT_STRTAB) {
      result.strings = reinterpret_cast<const char*>(address);
    } else if (entry->d_tag == DT_GNU_HASH) {
      result.gnu_hash = reinterpret_cast<const uint32_t*>(address);
    }
  }
  return result;
}

template <typename F>
bool Set(F*& function, uintptr_t address) {
  function = reinterpret_cast<F*>(address);
  return address != 0;
}

bool Fill(const DynamicSymbols& symbols, Unwinder& unwinder) {
  return Set(unwinder.get_gr, symbols.Find("_Unwind_GetGR")) &&
         Set(unwinder.set_gr, symbols.Find("_Unwind_SetGR")) &&
         Set(unwinder.get_ip, symbols.Find("_Unwind_GetIP")) &&
         Set(unwinder.get_ip_info, symbols.Find("_Unwind_GetIPInfo")) &&
         Set(unwinder.set_ip, symbols.Find("_Unwind_SetIP")) &&
         Set(unwinder.resume, symbols.Find("_Unwind_Resume")) &&
         Set(unwinder.forced_unwind, symbols.Find("_Unwind_ForcedUnwind"));
}

const Unwinder kOwn = {&_Unwind_GetGR,       &_Unwind_SetGR, &_Unwind_GetIP,
                       &_Unwind_GetIPInfo,   &_Unwind_SetIP, &_Unwind_Resume,
                       &_Unwind_ForcedUnwind};

// Unwinders are few and are looked up for every frame that is unwound.
struct CacheEntry {
  std::atomic<uintptr_t> begin;  // 0: free; ~0: being filled
  std::atomic<uintptr_t> end;
  Unwinder unwinder;
};
CacheEntry g_cache[8];

constexpr uintptr_t kFilling = ~uintptr_t{0};

// The unwinder of the module that holds `caller`; null: not in the cache.
const Unwinder* Cached(uintptr_t caller) {
  for (const CacheEntry& entry : g_cache) {
    // A2 <- R6: `unwinder` and `end` are complete.
    const uintptr_t begin = entry.begin.load(std::memory_order_acquire);
    if (begin == 0) break;
    // relaxed: ordered by A2.
    if (begin != kFilling && begin <= caller &&
        caller < entry.end.load(std::memory_order_relaxed)) {
      return &entry.unwinder;
    }
  }
  return nullptr;
}

// Null: there is no room.
const Unwinder* Remember(const Unwinder& unwinder, uintptr_t begin,
                         uintptr_t end) {
  for (CacheEntry& entry : g_cache) {
    uintptr_t expected = 0;
    // relaxed: claims the entry; nothing is read from it.
    if (!entry.begin.compare_exchange_strong(expected, kFilling,
                                             std::memory_order_relaxed,
                                             std::memory_order_relaxed)) {
      continue;
    }
    entry.unwinder = unwinder;
    // relaxed: published by R6.
    entry.end.store(end, std::memory_order_relaxed);
    // R6 -> A2: publishes `unwinder` and `end`.
    entry.begin.store(begin, std::memory_order_release);
    return &entry.unwinder;
  }
  return nullptr;
}

}  // namespace

const Unwinder* FindUnwinder(uintptr_t caller, _Unwind_Context* context) {
  if (const Unwinder* known = Cached(caller)) return known;
  dl_find_object object;
  if (_dl_find_object(reinterpret_cast<void*>(caller), &object) != 0) {
    return &kOwn;
  }
  const auto begin = reinterpret_cast<uintptr_t>(object.dlfo_map_start);
  const auto end = reinterpret_cast<uintptr_t>(object.dlfo_map_end);
  Unwinder found;
  if (!Fill(SymbolsOf(object.dlfo_link_map), found)) {
    return IsLlvmCursor(context, begin, end) ? &kLlvmCursor : &kOwn;
  }
  const Unwinder* remembered = Remember(found, begin, end);
  return remembered != nullptr ? remembered : &kOwn;
}

void* FindExported(const void* address, const char* name) {
  dl_find_object object;
  if (_dl_find_object(const_cast<void*>(address), &object) != 0) return nullptr;
  return reinterpret_cast<void*>(SymbolsOf(object.dlfo_link_map).Find(name));
}

}  // namespace retprobe
