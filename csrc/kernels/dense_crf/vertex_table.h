// The hash table that numbers the vertices of a lattice.
#pragma once
#include <cstdint>
#include <cstring>

#include "common/buffers.h"

namespace alseg {

// From a vertex to its number: open addressing; whoever fills it says in advance how many there are at most.
class VertexTable {
 public:
  explicit VertexTable(int64_t at_most) { reset(at_most); }
  void reset(int64_t at_most) {
    capacity_ = 64;
    while (capacity_ < static_cast<uint64_t>(at_most) * 2) capacity_ *= 2;
    entries_.resize(static_cast<int64_t>(capacity_));
    std::memset(static_cast<void*>(entries_.data()), 0xff, capacity_ * sizeof(Entry));
  }
  // The number of `key`, which is `next` if it was not there.
  int32_t insert(uint64_t key, int32_t next) {
    uint64_t at = scramble(key) & (capacity_ - 1);
    while (entries_[static_cast<int64_t>(at)].key != kNone) {
      const Entry& e = entries_[static_cast<int64_t>(at)];
      if (e.key == key) return e.number;
      at = (at + 1) & (capacity_ - 1);
    }
    entries_[static_cast<int64_t>(at)] = {key, next};
    return next;
  }
  int32_t find(uint64_t key, int32_t missing) const {
    uint64_t at = scramble(key) & (capacity_ - 1);
    for (; entries_[static_cast<int64_t>(at)].key != kNone; at = (at + 1) & (capacity_ - 1)) {
      if (entries_[static_cast<int64_t>(at)].key == key) return entries_[static_cast<int64_t>(at)].number;
    }
    return missing;
  }

 private:
  static constexpr uint64_t kNone = ~uint64_t{0};  // of no vertex: its upper bit is never set
  static uint64_t scramble(uint64_t key) {
    key *= 0x9e3779b97f4a7c15u;
    return key ^ (key >> 32);
  }
  struct Entry {
    uint64_t key;
    int32_t number;
  };
  uint64_t capacity_ = 0;
  Buffer<Entry> entries_;
};

}  // namespace alseg
