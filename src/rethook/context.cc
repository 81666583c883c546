// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstring>

#include "rethook/caller.h"
#include "rethook/instance.h"

namespace retprobe {
namespace {

constexpr int kRegisterArguments = 6;
constexpr int kVectorArguments = 8;

// Where integer argument `index` is at entry. No switch: that would become a
// table of jumps, which the reader of handlers' code (probe/handler_code.h)
// cannot follow.
uint64_t* ArgumentPlace(RegisterFrame* frame, int index) {
  static constexpr uint8_t kOffsets[kRegisterArguments] = {
      offsetof(RegisterFrame, rdi), offsetof(RegisterFrame, rsi),
      offsetof(RegisterFrame, rdx), offsetof(RegisterFrame, rcx),
      offsetof(RegisterFrame, r8),  offsetof(RegisterFrame, r9)};
  if (index >= kRegisterArguments) {
    return &frame->stack[index - kRegisterArguments];
  }
  return reinterpret_cast<uint64_t*>(reinterpret_cast<char*>(frame) +
                                     kOffsets[index]);
}

// Null: not saved.
void* VectorPlace(const RegisterFrame* frame, int index) {
  if (frame == nullptr || frame->vectors == nullptr || index < 0 ||
      index >= kVectorArguments) {
    return nullptr;
  }
  return static_cast<char*>(frame->vectors) +
         static_cast<size_t>(index) * frame->vector_stride;
}

double VectorAsDouble(const RegisterFrame* frame, int index) {
  double value = 0;
  const void* place = VectorPlace(frame, index);
  if (place != nullptr) std::memcpy(&value, place, sizeof(value));
  return value;
}

void SetVector(RegisterFrame* frame, int index, double value) {
  void* place = VectorPlace(frame, index);
  if (place != nullptr) std::memcpy(place, &value, sizeof(value));
}

void* FunctionOf(const ReturnInstance* instance) {
  // relaxed: this thread took the instance.
  const Site* site = instance->list.load(std::memory_order_relaxed)->site;
  return const_cast<void*>(site != nullptr ? site->function
                                           : instance->function);
}

void* FrameOf(const ReturnInstance* instance) {
  return reinterpret_cast<void*>(instance->frame + sizeof(uint64_t));
}

}  // namespace

void* EntryContext::function() const noexcept { return FunctionOf(instance_); }

void* EntryContext::return_address() const noexcept {
  return reinterpret_cast<void*>(
      CallerOf(frame_->return_address, instance_->saved_rbx));
}

void* EntryContext::frame() const noexcept { return FrameOf(instance_); }

uint64_t EntryContext::argument(int index) const noexcept {
  return index < 0 ? 0 : *ArgumentPlace(frame_, index);
}

void EntryContext::set_argument(int index, uint64_t value) noexcept {
  if (index >= 0) *ArgumentPlace(frame_, index) = value;
}

// The reader of handlers' code must see who calls these two.
__attribute__((noinline, noclone)) double EntryContext::float_argument(
    int index) const noexcept {
  return VectorAsDouble(frame_, index);
}

__attribute__((noinline, noclone)) void EntryContext::set_float_argument(
    int index, double value) noexcept {
  SetVector(frame_, index, value);
}

void* ReturnContext::function() const noexcept { return FunctionOf(instance_); }

void* ReturnContext::return_address() const noexcept {
  // relaxed: this thread took the instance.
  const Site* site = instance_->list.load(std::memory_order_relaxed)->site;
  const uint64_t address = instance_->return_address;
  return reinterpret_cast<void*>(
      site != nullptr ? CallerOf(address, instance_->saved_rbx) : address);
}

void* ReturnContext::frame() const noexcept { return FrameOf(instance_); }

uint64_t ReturnContext::result() const noexcept {
  return frame_ == nullptr ? 0 : frame_->rax;
}

uint64_t ReturnContext::result_high() const noexcept {
  return frame_ == nullptr ? 0 : frame_->rdx;
}

void ReturnContext::set_result(uint64_t value) noexcept {
  if (frame_ != nullptr) frame_->rax = value;
}

void ReturnContext::set_result_high(uint64_t value) noexcept {
  if (frame_ != nullptr) frame_->rdx = value;
}

double ReturnContext::float_result() const noexcept {
  return VectorAsDouble(frame_, 0);
}

void ReturnContext::set_float_result(double value) noexcept {
  SetVector(frame_, 0, value);
}

uint64_t ReturnContext::argument(int index) const noexcept {
  // relaxed: this thread took the instance.
  const HandlerList* list = instance_->list.load(std::memory_order_relaxed);
  if (index < 0 || static_cast<uint64_t>(index) >= list->saved_arguments) {
    return 0;
  }
  return instance_->arguments[index];
}

}  // namespace retprobe
