// SPDX-License-Identifier: Apache-2.0
#include "agent/allocator.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <bit>

#include "agent/system_calls.h"

// The agent's own malloc, hidden in it: what the agent, Abseil, libelf and
// libstdc++ inside it allocate never meets the program's allocator, which may
// be another one, be probed, or hold its lock. Set-up only, so simple: size
// classes over memory that is never given back.
namespace retprobe::agent {
namespace {

// Before each block. `check` tells our blocks from those that libc's own
// malloc made for us (realpath, for one), which are left alone.
struct Header {
  uint64_t check;
  uint32_t size_class;
  uint32_t offset;  // from the start of the class's block to this header
};
constexpr size_t kHeader = sizeof(Header);
static_assert(kHeader == 16);

constexpr uint64_t kCheck = 0x7265747072616c63;
constexpr int kClasses = 27;           // 32 bytes << class, header included
constexpr size_t kChunk = 256 * 1024;  // mapped at a time
constinit uint32_t lock = 0;
constinit Header* free_blocks[kClasses] = {};
constinit char* chunk = nullptr;
constinit char* chunk_end = nullptr;

size_t ClassSize(int size_class) { return size_t{32} << size_class; }

Header*& NextOf(Header* header) {
  return *reinterpret_cast<Header**>(header + 1);
}

class Locked {
 public:
  Locked() {
    // A0 <- R0: what the last holder did to the lists.
    while (__atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE) != 0) {
      Syscall(SYS_sched_yield);
    }
  }
  // R0 -> A0: the lists.
  ~Locked() { __atomic_store_n(&lock, 0, __ATOMIC_RELEASE); }
};

char* Map(size_t size) {
  const long result = Syscall(SYS_mmap, nullptr, size, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return result < 0 && result > -4096 ? nullptr
                                      : reinterpret_cast<char*>(result);
}

Header* TakeBlock(int size_class) {
  const size_t size = ClassSize(size_class);
  if (size > kChunk / 4) return reinterpret_cast<Header*>(Map(size));
  if (static_cast<size_t>(chunk_end - chunk) < size) {
    chunk = Map(kChunk);  // what was left of the old one is lost: under 64 KiB
    chunk_end = chunk == nullptr ? nullptr : chunk + kChunk;
    if (chunk == nullptr) return nullptr;
  }
  auto* header = reinterpret_cast<Header*>(chunk);
  chunk += size;
  return header;
}

Header* HeaderOf(void* pointer) {
  Header* header = static_cast<Header*>(pointer) - 1;
  return header->check == (kCheck ^ reinterpret_cast<uintptr_t>(header))
             ? header
             : nullptr;
}

size_t UsableSize(const Header* header) {
  return ClassSize(static_cast<int>(header->size_class)) - header->offset -
         kHeader;
}

}  // namespace

void* Allocate(size_t size, size_t alignment) {
  if (alignment < 16) alignment = 16;
  // A header lies right before what is returned; with a larger alignment that
  // may be further into the block.
  const size_t slack = alignment > 16 ? alignment : 0;
  if (size > (size_t{1} << 40)) return nullptr;
  const size_t wanted = size + kHeader + slack;
  const int size_class = wanted <= 32 ? 0 : std::bit_width(wanted - 1) - 5;
  if (size_class >= kClasses) return nullptr;
  Locked locked;
  Header* block = free_blocks[size_class];
  if (block != nullptr) {
    free_blocks[size_class] = NextOf(block);
  } else if ((block = TakeBlock(size_class)) == nullptr) {
    return nullptr;
  }
  const uintptr_t begin = reinterpret_cast<uintptr_t>(block);
  const uintptr_t result = (begin + kHeader + alignment - 1) & -alignment;
  auto* header = reinterpret_cast<Header*>(result) - 1;
  header->check = kCheck ^ reinterpret_cast<uintptr_t>(header);
  header->size_class = static_cast<uint32_t>(size_class);
  header->offset = static_cast<uint32_t>(result - kHeader - begin);
  return reinterpret_cast<void*>(result);
}

void Release(void* pointer) {
  if (pointer == nullptr) return;
  Header* header = HeaderOf(pointer);
  if (header == nullptr) return;
  const uint32_t size_class = header->size_class;
  auto* block = reinterpret_cast<Header*>(reinterpret_cast<char*>(header) -
                                          header->offset);
  header->check = 0;
  Locked locked;
  NextOf(block) = free_blocks[size_class];
  free_blocks[size_class] = block;
}

size_t AllocatedSize(void* pointer) {
  Header* header = HeaderOf(pointer);
  return header == nullptr ? 0 : UsableSize(header);
}

void UnlockAllocatorInChild() {
  // relaxed: a forked child has one thread
  __atomic_store_n(&lock, 0, __ATOMIC_RELAXED);
}

}  // namespace retprobe::agent

#ifndef RETPROBE_NO_MALLOC  // tests keep their malloc

using retprobe::agent::Allocate;
using retprobe::agent::AllocatedSize;
using retprobe::agent::Release;

// Under other names in C++, because libc's declarations make the right ones
// visible.
extern "C" {

void* AgentMalloc(size_t size) asm("malloc");
void AgentFree(void* pointer) asm("free");
void* AgentCalloc(size_t count, size_t size) asm("calloc");
void* AgentRealloc(void* pointer, size_t size) asm("realloc");
void* AgentMemalign(size_t alignment, size_t size) asm("memalign");
void* AgentAlignedAlloc(size_t alignment, size_t size) asm("aligned_alloc");
int AgentPosixMemalign(void** result, size_t alignment,
                       size_t size) asm("posix_memalign");
size_t AgentUsableSize(void* pointer) asm("malloc_usable_size");

void* AgentMalloc(size_t size) {
  void* result = Allocate(size, 16);
  if (result == nullptr) errno = ENOMEM;
  return result;
}

void AgentFree(void* pointer) { Release(pointer); }

void* AgentCalloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) return nullptr;
  void* result = AgentMalloc(bytes);
  if (result != nullptr) memset(result, 0, bytes);
  return result;
}

void* AgentRealloc(void* pointer, size_t size) {
  if (pointer == nullptr) return AgentMalloc(size);
  const size_t old_size = AllocatedSize(pointer);
  if (size <= old_size) return pointer;
  void* result = AgentMalloc(size);
  if (result == nullptr) return nullptr;
  memcpy(result, pointer, old_size);
  Release(pointer);
  return result;
}

void* AgentMemalign(size_t alignment, size_t size) {
  return Allocate(size, alignment);
}

void* AgentAlignedAlloc(size_t alignment, size_t size) {
  return Allocate(size, alignment);
}

int AgentPosixMemalign(void** result, size_t alignment, size_t size) {
  *result = Allocate(size, alignment);
  return *result == nullptr ? ENOMEM : 0;
}

size_t AgentUsableSize(void* pointer) {
  return pointer == nullptr ? 0 : AllocatedSize(pointer);
}

}  // extern "C"

#endif  // RETPROBE_NO_MALLOC
