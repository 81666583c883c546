#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# usage: install_test.sh SOURCE_ROOT BUILD_ROOT
# Installs into a scratch prefix and builds and runs the README's example
# against it: shared, static, and once more as a Meson subproject.
set -euo pipefail
source_root=$1
build_root=$2

here=$(dirname "$0")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0
failed=0

# Runs one case in a subshell of its own; what it prints is shown when it fails.
# Not as an if's condition, where the shell would ignore set -e.
case_of() {
  local name=$1 log=$scratch/log status
  shift
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1
  status=$?
  set -e
  if [ $status -eq 0 ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    printf 'FAILED: %s\n' "$name"
    sed 's/^/  /' "$log"
  fi
}

# Says what the example must: that it saw calls, and missed none.
check_output() {
  cat "$1"
  grep -E '[1-9][0-9]* calls' "$1"
  grep -E '\b0 missed' "$1"
}

install_all() {
  DESTDIR=$scratch/root meson install -C "$build_root" --no-rebuild
  pc=$(find "$scratch/root" -name retprobe.pc)
  [ -n "$pc" ]
  cp -r "${pc%/lib*}" "$scratch/prefix"
}

# What pkg-config says of the library in a prefix, wherever that is.
pkg_config() {
  local prefix=$1
  shift
  PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name retprobe.pc)") \
    pkg-config --define-variable=prefix="$prefix" "$@" retprobe
}

through_pkg_config() {
  # shellcheck disable=SC2046
  g++ -std=c++20 -O2 -Wall -Wextra -Werror "$scratch/example.cc" \
    $(pkg_config "$scratch/prefix" --cflags --libs) -o "$scratch/shared"
  LD_LIBRARY_PATH=$(pkg_config "$scratch/prefix" --variable=libdir) \
    "$scratch/shared" >"$scratch/shared.out"
  check_output "$scratch/shared.out"
  readelf -d "$scratch/shared" | grep 'NEEDED.*libretprobe\.so\.[0-9]'
}

static_through_pkg_config() {
  cp -r "$scratch/prefix" "$scratch/static_prefix"
  find "$scratch/static_prefix" -name 'libretprobe.so*' -delete
  # shellcheck disable=SC2046
  g++ -std=c++20 -O2 "$scratch/example.cc" \
    $(pkg_config "$scratch/static_prefix" --cflags --libs --static) \
    -o "$scratch/static"
  "$scratch/static" >"$scratch/static.out"
  check_output "$scratch/static.out"
  if readelf -d "$scratch/static" | grep 'NEEDED.*libretprobe'; then
    echo "the static example still needs libretprobe.so"
    return 1
  fi
}

# The pool's functions are partly inlined: their other half must be exported,
# and what calls them stays loaded.
pool_through_pkg_config() {
  local linked
  # shellcheck disable=SC2046
  g++ -std=c++20 -O2 -Wall -Wextra -Werror "$here/pool_example.cc" \
    $(pkg_config "$scratch/prefix" --cflags --libs) -o "$scratch/pool_shared"
  # shellcheck disable=SC2046
  g++ -std=c++20 -O2 "$here/pool_example.cc" \
    $(pkg_config "$scratch/static_prefix" --cflags --libs --static) \
    -o "$scratch/pool_static"
  for linked in shared static; do
    LD_LIBRARY_PATH=$(pkg_config "$scratch/prefix" --variable=libdir) \
      "$scratch/pool_$linked" >"$scratch/pool.out"
    cat "$scratch/pool.out"
    grep -x '64 objects' "$scratch/pool.out"
  done
  # shellcheck disable=SC2046
  g++ -std=c++20 -O2 -shared -fPIC "$here/pool_example.cc" \
    $(pkg_config "$scratch/prefix" --cflags --libs) -o "$scratch/pool.so"
  readelf -d "$scratch/pool.so" | grep NODELETE
}

as_subproject() {
  local project=$scratch/project
  mkdir -p "$project/subprojects"
  cp "$scratch/example.cc" "$project"
  ln -s "$source_root" "$project/subprojects/retprobe"
  cat >"$project/meson.build" <<'MESON'
project('example', 'cpp', default_options: ['cpp_std=c++20'])
executable('example', 'example.cc', dependencies: dependency('retprobe', fallback: 'retprobe'))
MESON
  # Only the subproject may provide the library.
  PKG_CONFIG_PATH='' meson setup "$project/build" "$project" \
    --force-fallback-for=retprobe
  ninja -C "$project/build" example
  "$project/build/example" >"$scratch/subproject.out"
  check_output "$scratch/subproject.out"
}

manual_pages() {
  local page
  for page in man1/retprobe.1 man3/retprobe.3 man5/retprobe.conf.5; do
    [ -s "$(find "$scratch/prefix" -path "*/$page")" ]
  done
}

installed_command() {
  local retprobe=$scratch/prefix/bin/retprobe
  "$retprobe" trace -e 'libc.so.6:*alloc*' -o "$scratch/trace.out" -- \
    sort /etc/passwd >"$scratch/sorted.out"
  sort /etc/passwd | cmp - "$scratch/sorted.out"
  cat "$scratch/trace.out"
  grep 'libc.so.6:malloc' "$scratch/trace.out"
  if [ -e "$scratch/prefix/libexec/retprobe/retprobe-usl" ]; then
    "$retprobe" usl "$source_root/test/scaling/kretprobe_prctl_x86.csv" |
      grep '^objpool .* usl '
    [ -s "$(find "$scratch/prefix" -path '*/man1/retprobe-usl.1')" ]
  fi
}

never_unloaded() {
  local library
  library=$(find "$scratch/prefix" -name 'libretprobe.so.*.*.*')
  readelf -d "$library" | grep NODELETE
  readelf -d "$library" | grep 'SONAME.*libretprobe\.so\.0\.[0-9]*\]'
}

python3 "$here/extract_example.py" "$source_root/README.md" \
  >"$scratch/example.cc"
case_of "meson install into a scratch prefix" install_all
case_of "the installed library stays loaded and has a versioned soname" never_unloaded
case_of "the manual pages are installed" manual_pages
if [ -e "$scratch/prefix/bin/retprobe" ]; then  # meson option `tools`
  case_of "the installed command finds its agent and traces" installed_command
fi
case_of "the README's example through pkg-config" through_pkg_config
case_of "the same, linked statically" static_through_pkg_config
case_of "the same, with retprobe as a Meson subproject" as_subproject
case_of "a typed pool through pkg-config, shared and static" pool_through_pkg_config
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
