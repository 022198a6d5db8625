// The rows that may still be among a query's nearest.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace alseg {

// A row (its block in the upper bits) whose distance lies in [lower, upper].
struct Candidate {
  float lower, upper;
  int64_t row;
};
constexpr int kRowBits = 40;

inline bool closer(const Candidate& a, const Candidate& b) {
  return a.upper < b.upper || (a.upper == b.upper && a.row < b.row);
}

// The limit is what a row's distance may not exceed: the k-th least upper bound, if that is below the limit so far.
// Drops what is beyond it.
inline void tighten(std::vector<Candidate>& list, int64_t k, float& limit) {
  if (static_cast<int64_t>(list.size()) >= k) {
    std::nth_element(list.begin(), list.begin() + (k - 1), list.end(), closer);
    limit = std::min(limit, list[static_cast<size_t>(k - 1)].upper);
  }
  list.erase(std::remove_if(list.begin(), list.end(), [&](const Candidate& c) { return c.lower > limit; }), list.end());
}

inline float below(double x) { return std::nextafter(static_cast<float>(x), -std::numeric_limits<float>::infinity()); }
inline float above(double x) { return std::nextafter(static_cast<float>(x), std::numeric_limits<float>::infinity()); }

}  // namespace alseg
