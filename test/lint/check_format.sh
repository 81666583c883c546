#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# usage: check_format.sh ROOT
# Fails when clang-format would change a C++ file; 77 (skipped) without it.
set -eu
cd "$1"
if ! command -v clang-format >/dev/null; then
  echo "clang-format is not installed"
  exit 77
fi
find src include test bench -name '*.cc' -o -name '*.h' | sort |
  xargs clang-format --dry-run --Werror
