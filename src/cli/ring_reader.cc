// SPDX-License-Identifier: Apache-2.0
#include "cli/ring_reader.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <bit>

namespace retprobe::cli {

using session::EventRecord;
using session::EventRing;

std::unique_ptr<RingReader> RingReader::Open(UniqueFd file) {
  std::unique_ptr<RingReader> reader(new RingReader);
  session::RingHeader& header = reader->header_;
  struct stat info;
  if (pread(file.get(), &header, sizeof(header), 0) != sizeof(header) ||
      fstat(file.get(), &info) != 0 || header.magic != session::kMagic ||
      header.version != session::kVersion ||
      header.size != static_cast<uint64_t>(info.st_size) ||
      header.cpus > 65536 || !std::has_single_bit(header.capacity) ||
      header.stride !=
          sizeof(EventRing) + header.capacity * sizeof(EventRecord) ||
      header.rings + header.cpus * header.stride != header.size) {
    return nullptr;
  }
  void* memory = mmap(nullptr, header.size, PROT_READ | PROT_WRITE, MAP_SHARED,
                      file.get(), 0);
  if (memory == MAP_FAILED) return nullptr;
  reader->memory_ = static_cast<char*>(memory);
  return reader;
}

RingReader::~RingReader() {
  if (memory_ != nullptr) munmap(memory_, header_.size);
}

bool RingReader::ReadRing(EventRing* ring, std::vector<EventRecord>* events,
                          bool ended) {
  auto* records = reinterpret_cast<EventRecord*>(ring + 1);
  uint64_t position = ring->tail;  // ours alone to write
  const uint64_t begin = position;
  // relaxed: only bounds the pass; sequences order the records
  const uint64_t head =
      std::atomic_ref(ring->head).load(std::memory_order_relaxed);
  while (position < head && position - begin < header_.capacity) {
    EventRecord& record = records[position & (header_.capacity - 1)];
    std::atomic_ref sequence(record.sequence);
    // A0 <- R1 (agent/handlers.cc): the record is complete.
    if (sequence.load(std::memory_order_acquire) == position + 1) {
      events->push_back(record);
    } else if (!ended) {
      break;
    }
    // R0 -> A1 (agent/handlers.cc): the place may be written again.
    sequence.store(position + header_.capacity, std::memory_order_release);
    ++position;
    // relaxed: tells producers of progress, nothing more
    std::atomic_ref(ring->tail).store(position, std::memory_order_relaxed);
  }
  return position != begin;
}

bool RingReader::Read(std::vector<EventRecord>* events, bool ended) {
  bool any = false;
  for (uint32_t cpu = 0; cpu < header_.cpus; ++cpu) {
    auto* ring = reinterpret_cast<EventRing*>(memory_ + header_.rings +
                                              cpu * header_.stride);
    any |= ReadRing(ring, events, ended);
  }
  return any;
}

}  // namespace retprobe::cli
