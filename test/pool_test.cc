// SPDX-License-Identifier: Apache-2.0
#include "retprobe/pool.h"

#include <doctest/doctest.h>

#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "pool_backends.h"

namespace retprobe::test {
namespace {

struct Counted {
  Counted() noexcept { ++constructed; }
  ~Counted() { ++destroyed; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

  int value = 42;
  static inline int constructed;
  static inline int destroyed;
};

TEST_CASE("objects are constructed once and destroyed once") {
  for (const auto backend : Backends()) {
    CAPTURE(Name(backend));
    Counted::constructed = Counted::destroyed = 0;
    {
      auto pool = Pool<Counted>::Create(
          {.object_count = 5, .max_objects = 8, .backend = backend});
      REQUIRE(pool.ok());
      CHECK(Counted::constructed == 5);
      {
        std::vector<PoolHandle<Counted>> all;
        while (PoolHandle<Counted> handle = (*pool)->Acquire()) {
          CHECK(handle->value == 42);
          handle->value = 42;
          all.push_back(std::move(handle));
        }
        CHECK(all.size() == 8);
        CHECK(!(*pool)->Acquire());
        CHECK((*pool)->objects().InUse().size() == 8);
      }
      CHECK((*pool)->objects().InUse().empty());
      CHECK(Counted::constructed == 8);
      CHECK(Counted::destroyed == 0);
      (*pool)->Acquire().Drop();
      CHECK(Counted::destroyed == 1);
    }
    CHECK(Counted::constructed == 8);
    CHECK(Counted::destroyed == 8);
  }
}

TEST_CASE("a handle moves like a unique_ptr") {
  auto made = Pool<Counted>::Create({.object_count = 2});
  REQUIRE(made.ok());
  Pool<Counted>& pool = **made;
  static_assert(!std::is_copy_constructible_v<PoolHandle<Counted>>);
  static_assert(std::is_nothrow_move_constructible_v<PoolHandle<Counted>>);
  static_assert(sizeof(PoolHandle<Counted>) == 2 * sizeof(void*));

  PoolHandle<Counted> none;
  CHECK(!none);
  PoolHandle<Counted> first = pool.Acquire();
  PoolHandle<Counted> second = pool.Acquire();
  REQUIRE((first && second));
  Counted* const object = first.get();
  CHECK(&*first == object);

  none = std::move(first);
  CHECK(!first);  // NOLINT: what a moved handle is, is the question
  CHECK(none.get() == object);
  CHECK(!pool.Acquire());

  second = std::move(none);  // gives back what it had
  CHECK(second.get() == object);
  PoolHandle<Counted> other = pool.Acquire();
  CHECK(other);
  PoolHandle<Counted>& self = second;
  second = std::move(self);
  CHECK(second.get() == object);

  swap(second, other);
  CHECK(other.get() == object);
  Counted* const released = other.release();
  CHECK(!other);
  CHECK(pool.objects().InUse().size() == 2);
  other = pool.Adopt(released);
  CHECK(other.get() == object);
  other.reset();
  other.reset();
  second = nullptr;
  CHECK(pool.objects().InUse().empty());
}

TEST_CASE("a factory makes what has no default constructor") {
  struct Named {
    explicit Named(const std::string* name) noexcept : name(name) {}
    const std::string* name;
  };
  struct Factory {
    const std::string* name;
    Named* operator()(void* place) const noexcept {
      return ::new (place) Named(name);
    }
  };
  const std::string name = "of the factory";
  auto pool = Pool<Named, Factory>::Create({.object_count = 3}, {&name});
  REQUIRE(pool.ok());
  PoolHandle<Named> handle = (*pool)->Acquire();
  CHECK(handle->name == &name);
}

TEST_CASE("objects are aligned as their type wants it") {
  struct alignas(256) Wide {
    char bytes[3];
  };
  auto pool = Pool<Wide>::Create({.object_count = 3, .alignment = 1});
  REQUIRE(pool.ok());
  for (int i = 0; i < 3; ++i) {
    Wide* wide = (*pool)->Acquire().release();
    CHECK(reinterpret_cast<uintptr_t>(wide) % 256 == 0);
    (void)(*pool)->Adopt(wide);
  }
}

TEST_CASE("a typed pool passes on what is wrong with its options") {
  const auto pool = Pool<Counted>::Create({});
  CHECK(absl::IsInvalidArgument(pool.status()));
  CHECK(std::string(pool.status().message()).find("object_count") !=
        std::string::npos);
}

TEST_CASE("handles end in other threads than they began") {
  auto made = Pool<Counted>::Create({.object_count = 100});
  REQUIRE(made.ok());
  std::vector<PoolHandle<Counted>> handles;
  for (int i = 0; i < 100; ++i) handles.push_back((*made)->Acquire());
  std::thread([moved = std::move(handles)]() mutable { moved.clear(); }).join();
  CHECK((*made)->objects().InUse().empty());
}

}  // namespace
}  // namespace retprobe::test
