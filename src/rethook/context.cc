// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <cstring>

#include "rethook/instance.h"

namespace retprobe {
namespace {

constexpr int kRegisterArguments = 6;
constexpr int kVectorArguments = 8;
constexpr size_t kVectorStride = 64;

// Where integer argument `index` is at entry.
uint64_t* ArgumentPlace(RegisterFrame* frame, int index) {
  switch (index) {
    case 0:
      return &frame->rdi;
    case 1:
      return &frame->rsi;
    case 2:
      return &frame->rdx;
    case 3:
      return &frame->rcx;
    case 4:
      return &frame->r8;
    case 5:
      return &frame->r9;
    default:
      return &frame->stack[index - kRegisterArguments];
  }
}

double VectorAsDouble(const RegisterFrame* frame, int index) {
  double value = 0;
  if (frame != nullptr && frame->vectors != nullptr && index >= 0 &&
      index < kVectorArguments) {
    std::memcpy(&value,
                static_cast<char*>(frame->vectors) + index * kVectorStride,
                sizeof(value));
  }
  return value;
}

void SetVector(RegisterFrame* frame, int index, double value) {
  if (frame != nullptr && frame->vectors != nullptr && index >= 0 &&
      index < kVectorArguments) {
    std::memcpy(static_cast<char*>(frame->vectors) + index * kVectorStride,
                &value, sizeof(value));
  }
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
  return reinterpret_cast<void*>(frame_->return_address);
}

void* EntryContext::frame() const noexcept { return FrameOf(instance_); }

uint64_t EntryContext::argument(int index) const noexcept {
  return index < 0 ? 0 : *ArgumentPlace(frame_, index);
}

void EntryContext::set_argument(int index, uint64_t value) noexcept {
  if (index >= 0) *ArgumentPlace(frame_, index) = value;
}

double EntryContext::float_argument(int index) const noexcept {
  return VectorAsDouble(frame_, index);
}

void EntryContext::set_float_argument(int index, double value) noexcept {
  SetVector(frame_, index, value);
}

void* ReturnContext::function() const noexcept { return FunctionOf(instance_); }

void* ReturnContext::return_address() const noexcept {
  return reinterpret_cast<void*>(instance_->return_address);
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
