// SPDX-License-Identifier: Apache-2.0
// A library with one name that is ours and one that is not.
extern "C" {
int retprobe_ours() { return 1; }
int stranger() { return 2; }
}
