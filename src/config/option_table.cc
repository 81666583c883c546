// SPDX-License-Identifier: Apache-2.0
#include "config/option.h"

namespace retprobe {
namespace {

constexpr uint64_t kMaxObjects = (uint64_t{1} << 24) - 2;
constexpr uint64_t kMaxData = (uint64_t{1} << 30) - 4096;

constexpr Option kOptions[] = {
    {.name = "pool.objects",
     .kind = OptionKind::kNumber,
     .unit = "objects",
     .low = 0,
     .high = kMaxObjects,
     .automatic = true,
     .initial = "auto",
     .help = "Objects of a pool that exist from the start. auto: as many as "
             "the program asks for; 64 per CPU in the pools of return probes.",
     .apply = [](const OptionValue& v,
                 Config& config) { config.pool.objects = v.number; }},
    {.name = "pool.max_objects",
     .kind = OptionKind::kNumber,
     .unit = "objects",
     .low = 1,
     .high = kMaxObjects,
     .automatic = true,
     .initial = "auto",
     .help = "Objects a pool may grow to, at least pool.objects. Address space "
             "for all of them is reserved; memory is used once they are. auto: "
             "as the program asks; 2097152 in the pools of return probes, or "
             "what 1 GiB holds.",
     .apply = [](const OptionValue& v,
                 Config& config) { config.pool.max_objects = v.number; }},
    {.name = "pool.growth_chunk",
     .kind = OptionKind::kNumber,
     .unit = "objects",
     .low = 1,
     .high = kMaxObjects,
     .automatic = true,
     .initial = "auto",
     .help =
         "Objects that a pop which finds none makes at once, as far as "
         "max_objects allows. auto: about a quarter of what a CPU may keep.",
     .apply = [](const OptionValue& v,
                 Config& config) { config.pool.growth_chunk = v.number; }},
    {.name = "pool.magazine_capacity",
     .kind = OptionKind::kNumber,
     .unit = "objects",
     .low = 0,
     .high = 62,
     .automatic = true,
     .initial = "auto",
     .help = "Objects a CPU may keep to itself. They are got at fastest there, "
             "and found only dearly by other CPUs. auto: half of a CPU's fair "
             "share; 62 in the pools of return probes.",
     .apply =
         [](const OptionValue& v, Config& config) {
           config.pool.magazine_capacity = static_cast<int>(v.number);
         }},
    {.name = "pool.ring_capacity",
     .kind = OptionKind::kNumber,
     .unit = "objects",
     .low = 8,
     .high = 65536,
     .automatic = true,
     .initial = "auto",
     .help = "Objects that a CPU puts where all CPUs can take them before it "
             "resorts to a list, rounded up to a power of two. auto: twice a "
             "CPU's fair share.",
     .apply = [](const OptionValue& v,
                 Config& config) { config.pool.ring_capacity = v.number; }},
    {.name = "pool.backend",
     .kind = OptionKind::kChoice,
     .unit = "",
     .choices = "auto|rseq|cas|percpu_freelist|freelist",
     .initial = "auto",
     .help =
         "How objects find their way between CPUs: by restartable sequences "
         "(rseq), by compare-and-swap alone (cas), over a list per CPU, or "
         "over one list for all. auto: rseq where it works, else cas.",
     .apply =
         [](const OptionValue& v, Config& config) {
           config.pool.backend = static_cast<PoolBackend>(v.number);
         }},
    {.name = "pool.placement",
     .kind = OptionKind::kChoice,
     .unit = "",
     .low = 0,
     .high = 1023,
     .choices = "local|interleave|node=N",
     .initial = "local",
     .help = "Which NUMA node's memory objects lie in: local gives every node "
             "its share, which its CPUs take of first; interleave takes all in "
             "turn, page by page; node=N takes node N alone.",
     .apply =
         [](const OptionValue& v, Config& config) {
           config.pool.placement = static_cast<PoolPlacement>(v.number);
           if (config.pool.placement == PoolPlacement::kNode) {
             config.pool.node = static_cast<int>(v.argument);
           }
         }},
    {.name = "pool.push_home",
     .kind = OptionKind::kBool,
     .unit = "",
     .initial = "true",
     .help = "With placement local: objects of another node go back to their "
             "own when they leave what a CPU keeps to itself.",
     .apply = [](const OptionValue& v,
                 Config& config) { config.pool.push_home = v.number != 0; }},
    {.name = "pool.huge_pages",
     .kind = OptionKind::kBool,
     .unit = "",
     .initial = "false",
     .help = "Objects may lie in huge pages: fewer TLB misses, but memory is "
             "taken 2 MiB at a time.",
     .apply = [](const OptionValue& v,
                 Config& config) { config.pool.huge_pages = v.number != 0; }},
    {.name = "probe.maxactive",
     .kind = OptionKind::kNumber,
     .unit = "calls",
     .low = 0,
     .high = INT32_MAX,
     .initial = "0",
     .help = "Calls probed at once by a return probe that has no maxactive of "
             "its own; further ones are missed. 0: as many as there are "
             "objects in the pool.",
     .apply =
         [](const OptionValue& v, Config& config) {
           config.probe.maxactive = static_cast<int>(v.number);
         }},
    {.name = "probe.data_size_limit",
     .kind = OptionKind::kNumber,
     .unit = "bytes",
     .low = 0,
     .high = kMaxData,
     .initial = "1073737728",
     .help = "The largest data_size that a return probe may ask for; all "
             "probes of a function together have at most 1073737728. Pools "
             "reserve address space for 64 calls at least. retprobe trace "
             "needs 16.",
     .apply = [](const OptionValue& v,
                 Config& config) { config.probe.data_size_limit = v.number; }},
    {.name = "probe.blacklist",
     .kind = OptionKind::kPatterns,
     .unit = "",
     .choices = "patterns function or module:function",
     .initial = "none",
     .help = "Functions that must not be probed, by patterns as retprobe trace "
             "has them. In TOML it may also be an array of patterns.",
     .apply = [](const OptionValue& v,
                 Config& config) { config.probe.blacklist = v.text; }},
};

}  // namespace

absl::Span<const Option> AllOptions() { return kOptions; }

}  // namespace retprobe
