// SPDX-License-Identifier: Apache-2.0
#ifndef RETPROBE_POOL_H_
#define RETPROBE_POOL_H_

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include "absl/status/statusor.h"
#include "retprobe/objpool.h"

namespace retprobe {

template <typename T>
class PoolHandle;

// The default way to make an object.
template <typename T>
struct DefaultFactory {
  T* operator()(void* place) const noexcept { return ::new (place) T(); }
};

// A pool of T, each constructed once and destroyed with the pool, not at every
// turn. What Acquire gives returns by itself:
//
//   struct Request { char buffer[500]; size_t length = 0; };
//
//   auto pool = retprobe::Pool<Request>::Create({.object_count = 64});
//   if (!pool.ok()) return pool.status();
//   if (retprobe::PoolHandle<Request> request = (*pool)->Acquire()) {
//     request->length = 0;  // it is as its last user left it
//   }  // back in the pool
//
// `Factory` makes an object at an address: T* operator()(void*) const noexcept.
// It is called by a pop that grows the pool, too, in whatever thread or signal
// handler that may be, so a constructor that throws is refused at compile time:
// let it make an empty object, and fill that after Acquire.
//
// Concurrency: as ObjPool's. Acquire, and the end of a handle, are
// async-signal-safe.
template <typename T, typename Factory = DefaultFactory<T>>
class Pool {
  static_assert(std::is_nothrow_destructible_v<T>,
                "a pool's objects are destroyed where nobody can catch");
  static_assert(
      std::is_nothrow_invocable_r_v<T*, const Factory&, void*> &&
          (!std::is_same_v<Factory, DefaultFactory<T>> ||
           std::is_nothrow_default_constructible_v<T>),
      "objects are made in pops, where nobody can catch: the factory, or T's "
      "default constructor, must be noexcept");
  static_assert(alignof(T) <= 4096, "no pool aligns more than to a page");

 public:
  using Handle = PoolHandle<T>;

  // `options` as ObjPool's, but for object_size, init, fini, release and
  // context, which are not used; `alignment` is raised to T's. Errors: as
  // ObjPool::Create.
  static absl::StatusOr<std::unique_ptr<Pool>> Create(ObjPool::Options options,
                                                      Factory factory = {}) {
    std::unique_ptr<Pool> pool(new Pool(std::move(factory)));
    options.object_size = sizeof(T);
    if (options.alignment < alignof(T)) options.alignment = alignof(T);
    options.init = [](void* place, void* self) {
      static_cast<Pool*>(self)->factory_(place);
    };
    options.fini = [](void* object, void*) {
      std::destroy_at(std::launder(static_cast<T*>(object)));
    };
    options.release = nullptr;
    options.context = pool.get();
    auto objects = ObjPool::Create(options);
    if (!objects.ok()) return objects.status();
    pool->objects_ = *std::move(objects);
    return pool;
  }

  // Takes an object; empty when there is none. Progress, Signals: as
  // ObjPool::Pop.
  [[nodiscard]] Handle Acquire() noexcept {
    return Handle(static_cast<T*>(objects_->Pop()), *objects_);
  }

  // Makes a handle of an object that one had let go.
  // Requires: `object` came from release() of a handle of this pool.
  [[nodiscard]] Handle Adopt(T* object) noexcept {
    return Handle(object, *objects_);
  }

  // For everything else. Whoever pops here must push here.
  ObjPool& objects() noexcept { return *objects_; }
  const ObjPool& objects() const noexcept { return *objects_; }

 private:
  explicit Pool(Factory factory) : factory_(std::move(factory)) {}

  Factory factory_;
  // The last member: it is destroyed first, and destroys objects with it.
  std::unique_ptr<ObjPool> objects_;
};

// Owns an object of a pool, or none, as a std::unique_ptr does. Must end before
// the pool.
template <typename T>
class [[nodiscard]] PoolHandle {
 public:
  PoolHandle() noexcept = default;
  PoolHandle(std::nullptr_t) noexcept {}
  PoolHandle(PoolHandle&& other) noexcept
      : object_(other.release()), pool_(other.pool_) {}
  PoolHandle& operator=(PoolHandle&& other) noexcept {
    PoolHandle(std::move(other)).swap(*this);
    return *this;
  }
  ~PoolHandle() { reset(); }

  T* get() const noexcept { return object_; }
  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }
  explicit operator bool() const noexcept { return object_ != nullptr; }

  // Gives the object back now.
  void reset() noexcept {
    if (T* object = release()) pool_->Push(object);
  }

  // Lets the object go: it is the caller's, to be adopted again.
  [[nodiscard]] T* release() noexcept {
    return std::exchange(object_, nullptr);
  }

  // Destroys the object for good, as ObjPool::Drop.
  void Drop() noexcept {
    if (T* object = release()) pool_->Drop(object);
  }

  void swap(PoolHandle& other) noexcept {
    std::swap(object_, other.object_);
    std::swap(pool_, other.pool_);
  }
  friend void swap(PoolHandle& a, PoolHandle& b) noexcept { a.swap(b); }

 private:
  template <typename, typename>
  friend class Pool;
  PoolHandle(T* object, ObjPool& pool) noexcept
      : object_(object), pool_(&pool) {}

  T* object_ = nullptr;
  ObjPool* pool_ = nullptr;
};

}  // namespace retprobe

#endif  // RETPROBE_POOL_H_
