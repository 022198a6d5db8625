#include <algorithm>

#include "kernels/regions/runs.h"

namespace alseg {
namespace {

// Number of edges of each pair of regions: a hash table with open addressing.
class PairCounts {
 public:
  PairCounts() : keys_(kFirstSize, kFree), counts_(kFirstSize, 0) {}

  // One more edge between two different regions.
  void add(int32_t i, int32_t j) {
    const uint64_t a = static_cast<uint32_t>(std::min(i, j)), b = static_cast<uint32_t>(std::max(i, j));
    const uint64_t key = a << 32 | b;
    // Along a boundary the pair stays the same.
    if (keys_[latest_] != key) latest_ = slot_of(key);
    ++counts_[latest_];
  }

  void append_to(std::vector<Border>* borders) const {
    for (size_t s = 0; s < keys_.size(); ++s)
      if (keys_[s] != kFree)
        borders->push_back({static_cast<int32_t>(keys_[s] >> 32), static_cast<int32_t>(keys_[s]), counts_[s]});
  }

 private:
  static constexpr size_t kFirstSize = 4096;
  static constexpr uint64_t kFree = ~UINT64_C(0);

  size_t find(uint64_t key) const {
    const size_t mask = keys_.size() - 1;
    size_t s = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & mask;
    while (keys_[s] != kFree && keys_[s] != key) s = (s + 1) & mask;
    return s;
  }

  size_t slot_of(uint64_t key) {
    size_t s = find(key);
    if (keys_[s] == key) return s;
    if (2 * ++used_ > keys_.size()) {
      grow();
      s = find(key);
    }
    keys_[s] = key;
    return s;
  }

  void grow() {
    std::vector<uint64_t> keys(4 * keys_.size(), kFree);
    std::vector<int64_t> counts(keys.size(), 0);
    keys.swap(keys_);
    counts.swap(counts_);
    for (size_t s = 0; s < keys.size(); ++s) {
      if (keys[s] == kFree) continue;
      const size_t to = find(keys[s]);
      keys_[to] = keys[s];
      counts_[to] = counts[s];
    }
  }

  std::vector<uint64_t> keys_;
  std::vector<int64_t> counts_;
  size_t used_ = 0, latest_ = 0;
};

bool before(const Border& p, const Border& q) { return p.a != q.a ? p.a < q.a : p.b < q.b; }

}  // namespace

bool border_rows(const RegionMap& map, int64_t y0, int64_t y1, std::vector<Border>* borders) {
  const int64_t w = map.width;
  PairCounts pairs;
  bool ok = true;
  const auto meet = [&](int32_t i, int32_t j) {
    if (map.has(i) && map.has(j)) pairs.add(i, j);
  };
  for (int64_t y = y0; y < y1; ++y) {
    const int32_t* const row = map.ids + y * w;
    const auto check = [&](int32_t id) { ok &= id == -1 || map.has(id); };
    check(row[0]);
    for_each_difference(row + 1, row, w - 1, [&](int64_t x) {
      check(row[x + 1]);
      meet(row[x], row[x + 1]);
    });
    if (y == 0) continue;
    for_each_difference(row, row - w, w, [&](int64_t x) { meet(row[x], row[x - w]); });
  }
  pairs.append_to(borders);
  return ok;
}

void merge_borders(std::vector<Border>* borders) {
  std::sort(borders->begin(), borders->end(), before);
  auto to = borders->begin();
  for (auto from = borders->begin(); from != borders->end(); ++from) {
    if (to != borders->begin() && (to - 1)->a == from->a && (to - 1)->b == from->b) (to - 1)->length += from->length;
    else *to++ = *from;
  }
  borders->erase(to, borders->end());
}

}  // namespace alseg
