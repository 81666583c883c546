// SPDX-License-Identifier: Apache-2.0
#include "agent/segment.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>

#include "agent/histogram.h"
#include "agent/live.h"
#include "agent/system_calls.h"

namespace retprobe::agent {
namespace {

using session::Counters;
using session::FunctionRecord;
using session::FunctionState;
using session::PatternRecord;
using session::SegmentHeader;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kHistogramSize = histogram::kBuckets * sizeof(uint64_t);

uint64_t RoundUp(uint64_t value, uint64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

template <typename T>
T* At(SegmentHeader* header, uint64_t offset) {
  return reinterpret_cast<T*>(reinterpret_cast<char*>(header) + offset);
}

}  // namespace

uint32_t Segment::Intern(absl::string_view text) {
  if (text.empty()) return 0;
  if (last_interned_ != 0 && text == strings_.c_str() + last_interned_) {
    return last_interned_;
  }
  last_interned_ = static_cast<uint32_t>(strings_.size());
  strings_.append(text.data(), text.size());
  strings_.push_back('\0');
  return last_interned_;
}

void Segment::AddPattern(uint32_t modules, uint32_t functions,
                         absl::string_view note) {
  patterns_.push_back(PatternRecord{modules, functions, Intern(note), 0});
}

void Segment::Layout(uint32_t cpus, SegmentHeader& header) const {
  header = {};
  header.magic = session::kMagic;
  header.version = session::kVersion;
  header.pid = g_live->generation;
  header.cpus = cpus;
  header.first_function = first_;
  header.function_count = static_cast<uint32_t>(entries_.size());
  header.pattern_count = static_cast<uint32_t>(patterns_.size());
  header.buckets = histogram::kBuckets;
  header.functions = RoundUp(sizeof(SegmentHeader), 64);
  header.patterns =
      header.functions + header.function_count * sizeof(FunctionRecord);
  header.strings =
      header.patterns + header.pattern_count * sizeof(PatternRecord);
  header.strings_size = strings_.size();
  // Of each CPU its own pages, which the kernel puts on that CPU's node.
  header.counters = RoundUp(header.strings + header.strings_size, kPage);
  header.histograms =
      header.counters +
      cpus * RoundUp(header.function_count * sizeof(Counters), kPage);
  header.size = header.histograms +
                cpus * RoundUp(header.function_count * kHistogramSize, kPage);
  header.program = program_;
  header.error = error_;
  header.warning = warning_;
}

bool Segment::Map(uint32_t cpus, int* descriptor) {
  // Strings first: offsets must not move once the layout is made.
  std::vector<FunctionRecord> records;
  records.reserve(entries_.size());
  for (const Entry& entry : entries_) {
    FunctionRecord record = {};
    record.name = Intern(entry.name);
    record.module = entry.module;
    record.reason = Intern(entry.reason);
    record.address = entry.address;
    record.size = entry.size;
    record.traits = entry.traits;
    records.push_back(record);
  }
  SegmentHeader layout;
  Layout(cpus, layout);
  void* memory = MapShared(layout.size, nullptr, descriptor);
  if (memory == nullptr) return false;
  header_ = static_cast<SegmentHeader*>(memory);
  *header_ = layout;
  memcpy(At<char>(header_, layout.functions), records.data(),
         records.size() * sizeof(FunctionRecord));
  memcpy(At<char>(header_, layout.patterns), patterns_.data(),
         patterns_.size() * sizeof(PatternRecord));
  memcpy(At<char>(header_, layout.strings), strings_.data(), strings_.size());
  return true;
}

bool Segment::MapAgain(int* descriptor) {
  // All before the counters is copied; the counters start at 0.
  const uint64_t size = header_->size;
  void* memory = MapShared(size, nullptr, descriptor);
  if (memory == nullptr) return false;
  memcpy(memory, header_, header_->counters);
  const long moved = Syscall(SYS_mremap, memory, size, size,
                             MREMAP_MAYMOVE | MREMAP_FIXED, header_);
  if (moved < 0 && moved > -4096) return false;
  header_->pid = g_live->generation;
  header_->instances = 0;
  FunctionRecord* records_of_child = records();
  for (uint32_t i = 0; i < header_->function_count; ++i) {
    records_of_child[i].missed_empty = 0;
    records_of_child[i].missed_recursion = 0;
    records_of_child[i].missed_dying = 0;
    records_of_child[i].missed_depth = 0;
    records_of_child[i].missed_limit = 0;
  }
  return true;
}

FunctionRecord* Segment::records() const {
  return At<FunctionRecord>(header_, header_->functions);
}

FunctionCells Segment::CellsOf(uint32_t index) const {
  FunctionCells cells;
  cells.counters = At<Counters>(header_, header_->counters) + index;
  cells.histogram =
      At<uint64_t>(header_, header_->histograms + index * kHistogramSize);
  cells.counters_stride =
      RoundUp(header_->function_count * sizeof(Counters), kPage);
  cells.histogram_stride =
      RoundUp(header_->function_count * kHistogramSize, kPage);
  cells.number = first_ + index;
  cells.record = &records()[index];
  return cells;
}

}  // namespace retprobe::agent
