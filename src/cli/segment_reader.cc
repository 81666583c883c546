// SPDX-License-Identifier: Apache-2.0
#include "cli/segment_reader.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "agent/histogram.h"

namespace retprobe::cli {
namespace {

using session::Counters;
using session::FunctionRecord;
using session::FunctionState;
using session::PatternRecord;
using session::SegmentHeader;

constexpr uint64_t kPage = 4096;

uint64_t RoundUpToPage(uint64_t size) {
  return (size + kPage - 1) / kPage * kPage;
}

}  // namespace

std::unique_ptr<SegmentReader> SegmentReader::Open(UniqueFd file) {
  std::unique_ptr<SegmentReader> reader(new SegmentReader);
  reader->file_ = std::move(file);
  struct stat info;
  if (pread(reader->file_.get(), &reader->header_, sizeof(SegmentHeader), 0) !=
          sizeof(SegmentHeader) ||
      fstat(reader->file_.get(), &info) != 0 ||
      static_cast<uint64_t>(info.st_size) != reader->header_.size ||
      !reader->Valid()) {
    return nullptr;
  }
  void* table = mmap(nullptr, reader->header_.counters, PROT_READ, MAP_SHARED,
                     reader->file_.get(), 0);
  if (table == MAP_FAILED) return nullptr;
  reader->table_ = static_cast<const char*>(table);
  return reader;
}

SegmentReader::~SegmentReader() {
  if (table_ != nullptr) munmap(const_cast<char*>(table_), header_.counters);
}

bool SegmentReader::Valid() const {
  const SegmentHeader& h = header_;
  const auto inside = [](uint64_t begin, uint64_t size, uint64_t end) {
    return begin <= end && size <= end - begin;
  };
  const uint64_t functions = h.function_count;
  return h.magic == session::kMagic && h.version == session::kVersion &&
         h.buckets == histogram::kBuckets && h.cpus <= 65536 &&
         h.counters <= h.size && h.counters % kPage == 0 &&
         inside(h.functions, functions * sizeof(FunctionRecord), h.patterns) &&
         inside(h.patterns, h.pattern_count * sizeof(PatternRecord),
                h.strings) &&
         inside(h.strings, h.strings_size, h.counters) &&
         inside(h.counters,
                h.cpus * RoundUpToPage(functions * sizeof(Counters)),
                h.histograms) &&
         inside(h.histograms, h.cpus * RoundUpToPage(functions * h.buckets * 8),
                h.size);
}

std::string SegmentReader::Text(uint32_t offset) const {
  if (offset >= header_.strings_size) return "";
  const char* text = table_ + header_.strings + offset;
  return std::string(text, strnlen(text, header_.strings_size - offset));
}

FunctionRecord SegmentReader::record(uint32_t index) const {
  FunctionRecord result;
  memcpy(&result, table_ + header_.functions + index * sizeof(FunctionRecord),
         sizeof(result));
  return result;
}

PatternRecord SegmentReader::pattern(uint32_t index) const {
  PatternRecord result;
  memcpy(&result, table_ + header_.patterns + index * sizeof(PatternRecord),
         sizeof(result));
  return result;
}

uint64_t SegmentReader::instances() const {
  uint64_t result;
  memcpy(&result, table_ + offsetof(SegmentHeader, instances), sizeof(result));
  return result;
}

std::string SegmentReader::module(uint32_t index) const {
  return Text(record(index).module);
}

std::string SegmentReader::name(uint32_t index) const {
  return Text(record(index).name);
}

// By pread: reading a hole through a mapping would allocate its page.
void SegmentReader::AddHistogram(uint32_t cpu, uint32_t index,
                                 FunctionReport& to) const {
  const uint64_t size = header_.buckets * sizeof(uint64_t);
  const uint64_t stride = RoundUpToPage(header_.function_count * size);
  std::vector<uint64_t> buckets(header_.buckets);
  if (pread(file_.get(), buckets.data(), size,
            static_cast<off_t>(header_.histograms + cpu * stride +
                               index * size)) != static_cast<ssize_t>(size)) {
    return;
  }
  to.buckets.resize(header_.buckets);
  for (size_t i = 0; i < buckets.size(); ++i) to.buckets[i] += buckets[i];
}

void SegmentReader::AddCpu(uint32_t cpu,
                           std::vector<FunctionReport>& functions) const {
  std::vector<Counters> cells(header_.function_count);
  const size_t size = cells.size() * sizeof(Counters);
  if (pread(file_.get(), cells.data(), size,
            static_cast<off_t>(header_.counters + cpu * RoundUpToPage(size))) !=
      static_cast<ssize_t>(size)) {
    return;
  }
  for (uint32_t i = 0; i < cells.size(); ++i) {
    FunctionReport& to = functions[i];
    to.calls += cells[i].entered;
    to.unwound += cells[i].unwound;
    to.abandoned += cells[i].abandoned;
    to.total += cells[i].total;
    to.lost_events += cells[i].lost_events;
    // A call may begin on one CPU and end on another.
    if (cells[i].shortest == 0) continue;
    const uint64_t shortest = cells[i].shortest - 1;
    to.shortest =
        to.buckets.empty() ? shortest : std::min(to.shortest, shortest);
    to.longest = std::max(to.longest, cells[i].longest);
    AddHistogram(cpu, i, to);
  }
}

std::vector<FunctionReport> SegmentReader::ReadFunctions() const {
  std::vector<FunctionReport> functions(header_.function_count);
  for (uint32_t i = 0; i < functions.size(); ++i) {
    const FunctionRecord from = record(i);
    FunctionReport& to = functions[i];
    to.module = Text(from.module);
    to.name = Text(from.name);
    to.state = from.state;
    to.reason = Text(from.reason);
    to.size = from.size;
    to.traits = from.traits;
    to.missed_empty = from.missed_empty;
    to.missed_recursion = from.missed_recursion;
    to.missed_dying = from.missed_dying;
    to.missed_depth = from.missed_depth;
    to.missed_limit = from.missed_limit;
  }
  if (functions.empty()) return functions;
  for (uint32_t cpu = 0; cpu < header_.cpus; ++cpu) AddCpu(cpu, functions);
  return functions;
}

}  // namespace retprobe::cli
