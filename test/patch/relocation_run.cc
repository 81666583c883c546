// SPDX-License-Identifier: Apache-2.0
#include "patch/relocation_run.h"

#include <Zydis/Zydis.h>
#include <sys/mman.h>

#include <cstdlib>

// rdi: MachineState, rsi: code. The exits push a number and come to
// retprobe_fuzz_finish.
asm(R"(
  .text
  .globl retprobe_fuzz_run
  .hidden retprobe_fuzz_run
  .type retprobe_fuzz_run, @function
retprobe_fuzz_run:
  push %rbx
  push %rbp
  push %r12
  push %r13
  push %r14
  push %r15
  mov %rsp, retprobe_fuzz_stack(%rip)
  mov %rdi, retprobe_fuzz_state(%rip)
  mov %rsi, retprobe_fuzz_code(%rip)
  push 128(%rdi)
  popf
  mov (%rdi), %rax
  mov 8(%rdi), %rcx
  mov 16(%rdi), %rdx
  mov 24(%rdi), %rbx
  mov 32(%rdi), %rsp
  mov 40(%rdi), %rbp
  mov 48(%rdi), %rsi
  mov 64(%rdi), %r8
  mov 72(%rdi), %r9
  mov 80(%rdi), %r10
  mov 88(%rdi), %r11
  mov 96(%rdi), %r12
  mov 104(%rdi), %r13
  mov 112(%rdi), %r14
  mov 120(%rdi), %r15
  mov 56(%rdi), %rdi
  jmp *retprobe_fuzz_code(%rip)
  .globl retprobe_fuzz_finish
  .hidden retprobe_fuzz_finish
retprobe_fuzz_finish:
  mov %rdi, retprobe_fuzz_code(%rip)
  mov retprobe_fuzz_state(%rip), %rdi
  mov %rax, (%rdi)
  mov %rcx, 8(%rdi)
  mov %rdx, 16(%rdi)
  mov %rbx, 24(%rdi)
  mov %rsp, 32(%rdi)
  mov %rbp, 40(%rdi)
  mov %rsi, 48(%rdi)
  mov %r8, 64(%rdi)
  mov %r9, 72(%rdi)
  mov %r10, 80(%rdi)
  mov %r11, 88(%rdi)
  mov %r12, 96(%rdi)
  mov %r13, 104(%rdi)
  mov %r14, 112(%rdi)
  mov %r15, 120(%rdi)
  mov retprobe_fuzz_code(%rip), %rax
  mov %rax, 56(%rdi)
  mov retprobe_fuzz_stack(%rip), %rsp
  pushf
  pop 128(%rdi)
  cld
  pop %r15
  pop %r14
  pop %r13
  pop %r12
  pop %rbp
  pop %rbx
  ret
  .size retprobe_fuzz_run, .-retprobe_fuzz_run
  .local retprobe_fuzz_stack, retprobe_fuzz_state, retprobe_fuzz_code
  .comm retprobe_fuzz_stack, 8, 8
  .comm retprobe_fuzz_state, 8, 8
  .comm retprobe_fuzz_code, 8, 8
)");

extern "C" void retprobe_fuzz_run(retprobe::MachineState* state,
                                  uintptr_t code);
extern "C" void retprobe_fuzz_finish();

namespace retprobe {
namespace {

constexpr size_t kPage = 4096;
constexpr uint64_t kArithmeticFlags = 0x8d5;
constexpr int kRsp = 4;

bool Whitelisted(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_ADC:
    case ZYDIS_MNEMONIC_ADD:
    case ZYDIS_MNEMONIC_AND:
    case ZYDIS_MNEMONIC_BSWAP:
    case ZYDIS_MNEMONIC_CALL:
    case ZYDIS_MNEMONIC_CBW:
    case ZYDIS_MNEMONIC_CDQ:
    case ZYDIS_MNEMONIC_CDQE:
    case ZYDIS_MNEMONIC_CLC:
    case ZYDIS_MNEMONIC_CMC:
    case ZYDIS_MNEMONIC_CMP:
    case ZYDIS_MNEMONIC_CMPXCHG:
    case ZYDIS_MNEMONIC_CQO:
    case ZYDIS_MNEMONIC_CWD:
    case ZYDIS_MNEMONIC_CWDE:
    case ZYDIS_MNEMONIC_DEC:
    case ZYDIS_MNEMONIC_ENDBR64:
    case ZYDIS_MNEMONIC_IMUL:
    case ZYDIS_MNEMONIC_INC:
    case ZYDIS_MNEMONIC_JMP:
    case ZYDIS_MNEMONIC_LAHF:
    case ZYDIS_MNEMONIC_LEA:
    case ZYDIS_MNEMONIC_LOOP:
    case ZYDIS_MNEMONIC_LOOPE:
    case ZYDIS_MNEMONIC_LOOPNE:
    case ZYDIS_MNEMONIC_MOV:
    case ZYDIS_MNEMONIC_MOVSX:
    case ZYDIS_MNEMONIC_MOVSXD:
    case ZYDIS_MNEMONIC_MOVZX:
    case ZYDIS_MNEMONIC_MUL:
    case ZYDIS_MNEMONIC_NEG:
    case ZYDIS_MNEMONIC_NOP:
    case ZYDIS_MNEMONIC_NOT:
    case ZYDIS_MNEMONIC_OR:
    case ZYDIS_MNEMONIC_POP:
    case ZYDIS_MNEMONIC_PUSH:
    case ZYDIS_MNEMONIC_RCL:
    case ZYDIS_MNEMONIC_RCR:
    case ZYDIS_MNEMONIC_RET:
    case ZYDIS_MNEMONIC_ROL:
    case ZYDIS_MNEMONIC_ROR:
    case ZYDIS_MNEMONIC_SAHF:
    case ZYDIS_MNEMONIC_SAR:
    case ZYDIS_MNEMONIC_SBB:
    case ZYDIS_MNEMONIC_SHL:
    case ZYDIS_MNEMONIC_SHR:
    case ZYDIS_MNEMONIC_STC:
    case ZYDIS_MNEMONIC_SUB:
    case ZYDIS_MNEMONIC_TEST:
    case ZYDIS_MNEMONIC_XADD:
    case ZYDIS_MNEMONIC_XCHG:
    case ZYDIS_MNEMONIC_XOR:
      return true;
    default:
      return false;
  }
}

bool OnGeneralRegisters(const ZydisDecodedOperand& operand) {
  switch (ZydisRegisterGetClass(operand.reg.value)) {
    case ZYDIS_REGCLASS_GPR8:
    case ZYDIS_REGCLASS_GPR16:
    case ZYDIS_REGCLASS_GPR32:
    case ZYDIS_REGCLASS_GPR64:
    case ZYDIS_REGCLASS_FLAGS:
    case ZYDIS_REGCLASS_IP:
      return true;
    default:
      return false;
  }
}

bool Harmless(const ZydisDecodedOperand& operand, bool branch,
              uintptr_t target) {
  const Arena& arena = Arena::Get();
  const bool visible = operand.visibility != ZYDIS_OPERAND_VISIBILITY_HIDDEN;
  switch (operand.type) {
    case ZYDIS_OPERAND_TYPE_REGISTER: {
      const ZydisRegister whole = ZydisRegisterGetLargestEnclosing(
          ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value);
      // No branch through a register; nobody else moves the stack.
      return OnGeneralRegisters(operand) && !(branch && visible) &&
             !(visible && whole == ZYDIS_REGISTER_RSP &&
               (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0);
    }
    case ZYDIS_OPERAND_TYPE_MEMORY: {
      if (operand.mem.type == ZYDIS_MEMOP_TYPE_AGEN) return true;
      if (!visible) return operand.mem.base == ZYDIS_REGISTER_RSP;
      if (operand.mem.base != ZYDIS_REGISTER_RIP ||
          operand.mem.segment == ZYDIS_REGISTER_FS ||
          operand.mem.segment == ZYDIS_REGISTER_GS) {
        return false;
      }
      const auto begin =
          reinterpret_cast<uintptr_t>(branch ? arena.pointers : arena.scratch);
      const uintptr_t offset = target - begin;
      return offset <= (branch ? 56 : 240) && (!branch || offset % 8 == 0);
    }
    default:
      return true;
  }
}

}  // namespace

Arena& Arena::Get() {
  static Arena arena = [] {
    void* const memory =
        mmap(nullptr, 5 * kPage, PROT_READ | PROT_WRITE | PROT_EXEC,
             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) std::abort();
    auto* const begin = static_cast<uint8_t*>(memory);
    Arena fresh = {begin, begin + kPage, begin + 2 * kPage, begin + 3 * kPage,
                   begin + 4 * kPage};
    fresh.WriteExit(fresh.code, 0);
    fresh.WriteExit(fresh.code + kCodeOffset + kCodeRoom, 1);
    for (int i = 0; i < 8; ++i) {
      const uintptr_t exit = fresh.exit(i % 2);
      std::memcpy(fresh.pointers + 8 * i, &exit, sizeof(exit));
    }
    mprotect(fresh.pointers, kPage, PROT_READ);
    return fresh;
  }();
  return arena;
}

// push $number; jmp *(behind it); the address of the end. 7 bytes do not hold
// that, so the last of them is a jump to a common place in the page.
void Arena::WriteExit(uint8_t* place, uint8_t number) const {
  uint8_t* const common = code + kPage - 16;
  const uintptr_t finish = reinterpret_cast<uintptr_t>(&retprobe_fuzz_finish);
  const uint8_t jump[] = {0xff, 0x25, 0, 0, 0, 0};  // jmp *0(%rip)
  std::memcpy(common, jump, sizeof(jump));
  std::memcpy(common + sizeof(jump), &finish, sizeof(finish));
  const int32_t distance = static_cast<int32_t>(common - (place + kExitSize));
  place[0] = 0x6a;
  place[1] = number;
  place[2] = 0xe9;
  std::memcpy(place + 3, &distance, sizeof(distance));
}

RunResult RunCode(uintptr_t code, const uint8_t* seed, size_t seed_size) {
  const Arena& arena = Arena::Get();
  // xorshift, so that every register depends on all of the seed.
  uint64_t random = 0x9e3779b97f4a7c15u;
  for (size_t i = 0; i < seed_size; ++i)
    random = random * 0x100000001b3 ^ seed[i];
  const auto next = [&random] {
    random ^= random << 13;
    random ^= random >> 7;
    return random ^= random << 17;
  };
  RunResult result = {};
  for (uint64_t& word : result.state.registers) word = next();
  result.state.flags = (next() & kArithmeticFlags) | 2;
  for (size_t i = 0; i < 256; i += 8) {
    const uint64_t word = next();
    std::memcpy(arena.scratch + i, &word, 8);
  }
  // Whoever returns comes to exit 1.
  uint8_t* const top = arena.stack + kPage / 2;
  for (uint8_t* p = arena.stack; p < arena.stack + kPage; p += 8) {
    const uintptr_t exit = arena.exit(1);
    std::memcpy(p, &exit, 8);
  }
  result.state.registers[kRsp] = reinterpret_cast<uintptr_t>(top);
  retprobe_fuzz_run(&result.state, code);
  result.state.flags &= kArithmeticFlags;
  std::memcpy(result.memory, arena.scratch, 256);
  std::memcpy(result.memory + 256, top - 128, 256);
  return result;
}

bool CanRun(const uint8_t* bytes, uintptr_t address) {
  static const ZydisDecoder decoder = [] {
    ZydisDecoder fresh;
    ZydisDecoderInit(&fresh, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    return fresh;
  }();
  ZydisDecodedInstruction instruction;
  ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
  if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, bytes,
                                         ZYDIS_MAX_INSTRUCTION_LENGTH,
                                         &instruction, operands))) {
    return false;
  }
  const bool conditional =
      instruction.meta.category == ZYDIS_CATEGORY_COND_BR &&
      instruction.mnemonic != ZYDIS_MNEMONIC_XBEGIN;
  const auto set = instruction.meta.category;
  if (!Whitelisted(instruction.mnemonic) && !conditional &&
      set != ZYDIS_CATEGORY_CMOV && set != ZYDIS_CATEGORY_SETCC) {
    return false;
  }
  if (instruction.meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ||
      instruction.operand_width == 16 ||
      (instruction.attributes & ZYDIS_ATTRIB_HAS_LOCK) != 0) {
    return false;
  }
  // ret n leaves the stack.
  if (instruction.mnemonic == ZYDIS_MNEMONIC_RET &&
      instruction.raw.imm[0].size != 0) {
    return false;
  }
  const bool branch = instruction.meta.branch_type != ZYDIS_BRANCH_TYPE_NONE;
  const uintptr_t end = address + instruction.length;
  if (instruction.raw.imm[0].is_relative) {
    const uintptr_t target =
        end + static_cast<uintptr_t>(instruction.raw.imm[0].value.s);
    const Arena& arena = Arena::Get();
    if (target != arena.exit(0) && target != arena.exit(1)) return false;
  }
  const uintptr_t target =
      end + static_cast<uintptr_t>(instruction.raw.disp.value);
  for (int i = 0; i < instruction.operand_count; ++i) {
    if (!Harmless(operands[i], branch, target)) return false;
  }
  return true;
}

}  // namespace retprobe
