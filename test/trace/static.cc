// SPDX-License-Identifier: Apache-2.0
// Linked statically: nothing can be preloaded into it.
int main() { return 0; }
