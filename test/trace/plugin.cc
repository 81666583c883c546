// SPDX-License-Identifier: Apache-2.0
// Loaded by trace_sample. Has an indirect function whose resolver must not run
// before the module is relocated.
// Calls stay calls, of this very function.
#ifdef __clang__
#define SAMPLE_OPAQUE noinline
#else
#define SAMPLE_OPAQUE noipa
#endif

#define PLUGIN extern "C" __attribute__((SAMPLE_OPAQUE, visibility("default")))

PLUGIN long plugin_offset(long number) {
  asm volatile("" : "+r"(number));
  return number + 1;
}

namespace {
long Doubled(long number) { return plugin_offset(number) * 2; }
long (*volatile chosen)(long) = Doubled;  // needs a relocation
}  // namespace

extern "C" long (*resolve_plugin_twice())(long) { return chosen; }

extern "C"
    __attribute__((visibility("default"), ifunc("resolve_plugin_twice"))) long
    plugin_twice(long number);

namespace {
long at_start = 0;
__attribute__((constructor)) void Start() { at_start = plugin_offset(40); }
}  // namespace

PLUGIN long plugin_work(long number) { return plugin_twice(number) + at_start; }
