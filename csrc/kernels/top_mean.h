// Exact mean of the k largest values of an array.
#pragma once
#include <cstdint>

namespace alseg {

// values [n] (no NaN), 1 <= k <= n. Single-threaded and a function of the input alone. Where the k-th
// largest value repeats, exactly as many copies of it count as are needed to make k.
double mean_of_largest(const float* values, int64_t n, int64_t k);

}  // namespace alseg
