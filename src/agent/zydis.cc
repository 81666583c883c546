// SPDX-License-Identifier: Apache-2.0
#include "agent/zydis.h"

#include <Zydis/Zydis.h>
#include <dlfcn.h>

// Hidden functions of Zydis's names, for the patch room inside the agent: they
// pass calls on to a library of our own loading.
namespace retprobe::agent {
namespace {

constexpr char kLibrary[] = "libZydis.so.4.0";

decltype(&ZydisDecoderInit) decoder_init = nullptr;
decltype(&ZydisDecoderDecodeInstruction) decode_instruction = nullptr;
decltype(&ZydisDecoderDecodeOperands) decode_operands = nullptr;
decltype(&ZydisDecoderDecodeFull) decode_full = nullptr;

template <typename Function>
bool Find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

bool LoadZydis() {
  // Local: not seen by the program's own lookups. Deep-bound: finds its own
  // Zycore before any that the program has.
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
  return library != nullptr &&
         Find(library, "ZydisDecoderInit", decoder_init) &&
         Find(library, "ZydisDecoderDecodeInstruction", decode_instruction) &&
         Find(library, "ZydisDecoderDecodeOperands", decode_operands) &&
         Find(library, "ZydisDecoderDecodeFull", decode_full);
}

}  // namespace retprobe::agent

extern "C" {

ZyanStatus ZydisDecoderInit(ZydisDecoder* decoder,
                            ZydisMachineMode machine_mode,
                            ZydisStackWidth stack_width) {
  return retprobe::agent::decoder_init(decoder, machine_mode, stack_width);
}

ZyanStatus ZydisDecoderDecodeInstruction(const ZydisDecoder* decoder,
                                         ZydisDecoderContext* context,
                                         const void* buffer, ZyanUSize length,
                                         ZydisDecodedInstruction* instruction) {
  return retprobe::agent::decode_instruction(decoder, context, buffer, length,
                                             instruction);
}

ZyanStatus ZydisDecoderDecodeOperands(
    const ZydisDecoder* decoder, const ZydisDecoderContext* context,
    const ZydisDecodedInstruction* instruction, ZydisDecodedOperand* operands,
    ZyanU8 operand_count) {
  return retprobe::agent::decode_operands(decoder, context, instruction,
                                          operands, operand_count);
}

ZyanStatus ZydisDecoderDecodeFull(const ZydisDecoder* decoder,
                                  const void* buffer, ZyanUSize length,
                                  ZydisDecodedInstruction* instruction,
                                  ZydisDecodedOperand* operands) {
  return retprobe::agent::decode_full(decoder, buffer, length, instruction,
                                      operands);
}

}  // extern "C"
