// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_HANDLER_H_
#define RETPROBE_HANDLER_H_

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

#include "retprobe/context.h"

namespace retprobe {

// A handler: any callable Result(Context&) noexcept, or none.
//
// Not std::function or absl::AnyInvocable: the trampoline calls `invoke` with
// `user` directly, one jump less per probed call, and the library can follow
// the code from there to see which registers it changes.
//
// The callable is called as const and from many threads at once.
template <typename Result, typename Context>
class BasicHandler {
 public:
  using Invoke = Result (*)(void* user, Context& context);

  BasicHandler() = default;

  template <typename F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, BasicHandler> &&
           std::is_invocable_r_v<Result, const std::remove_cvref_t<F>&,
                                 Context&>)
      BasicHandler(F&& callable) {  // NOLINT: implicit, as for std::function
    using Callable = std::remove_cvref_t<F>;
    static_assert(std::is_nothrow_invocable_v<const Callable&, Context&>,
                  "a handler must be noexcept: it runs inside somebody else's "
                  "function, where an exception could not be caught");
    if constexpr (kFits<Callable>) {
      ::new (static_cast<void*>(&user_)) Callable(std::forward<F>(callable));
      invoke_ = [](void* user, Context& context) -> Result {
        return (*std::launder(reinterpret_cast<const Callable*>(&user)))(
            context);
      };
    } else {
      user_ = new Callable(std::forward<F>(callable));
      destroy_ = [](void* user) { delete static_cast<Callable*>(user); };
      invoke_ = [](void* user, Context& context) -> Result {
        return (*static_cast<const Callable*>(user))(context);
      };
    }
  }

  BasicHandler(BasicHandler&& other) noexcept
      : invoke_(std::exchange(other.invoke_, nullptr)),
        user_(std::exchange(other.user_, nullptr)),
        destroy_(std::exchange(other.destroy_, nullptr)) {}
  BasicHandler& operator=(BasicHandler&& other) noexcept {
    std::swap(invoke_, other.invoke_);
    std::swap(user_, other.user_);
    std::swap(destroy_, other.destroy_);
    return *this;
  }
  ~BasicHandler() {
    if (destroy_ != nullptr) destroy_(user_);
  }

  explicit operator bool() const { return invoke_ != nullptr; }
  Invoke invoke() const { return invoke_; }
  void* user() const { return user_; }

 private:
  // Held in place of the pointer to it.
  template <typename Callable>
  static constexpr bool kFits = sizeof(Callable) <= sizeof(void*) &&
                                alignof(Callable) <= alignof(void*) &&
                                std::is_trivially_copyable_v<Callable>;

  Invoke invoke_ = nullptr;
  void* user_ = nullptr;
  void (*destroy_)(void*) = nullptr;
};

// Runs before a probed function; false declines the activation: the function
// runs unprobed and no return handler will see it.
using EntryHandler = BasicHandler<bool, EntryContext>;

// Runs when a probed function's activation ends.
using ReturnHandler = BasicHandler<void, ReturnContext>;

}  // namespace retprobe

#endif  // RETPROBE_HANDLER_H_
