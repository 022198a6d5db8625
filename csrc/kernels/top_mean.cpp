#include "kernels/top_mean.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include "isa/levels.h"

namespace alseg {
namespace {

// A threshold which at least k values are likely to reach, and not many more, from a regular sample.
float guess_threshold(const float* values, int64_t n, int64_t k, std::vector<float>& sample) {
  constexpr int64_t kSample = 4096;
  // An odd step does not fall in with the width of rows or of upsampled cells.
  const int64_t step = n / kSample | 1;
  if (step < 4) return -std::numeric_limits<float>::infinity();
  sample.clear();
  for (int64_t i = 0; i < n; i += step) sample.push_back(values[i]);
  const int64_t size = static_cast<int64_t>(sample.size());
  const double share = static_cast<double>(k) / static_cast<double>(n);
  // A fifth more than the share, and a few more for the noise of small shares.
  const int64_t rank = std::min<int64_t>(size - 1, static_cast<int64_t>(1.2 * share * size) + 16);
  std::nth_element(sample.begin(), sample.begin() + rank, sample.end(), std::greater<float>());
  return sample[static_cast<size_t>(rank)];
}

}  // namespace

double mean_of_largest(const float* values, int64_t n, int64_t k) {
  thread_local std::vector<float> sample, kept;
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  kept.resize(static_cast<size_t>(n + kPackPad));
  const auto pack = kernels().pack_values;
  int64_t size = pack(values, n, guess_threshold(values, n, k, sample), kept.data());
  if (size < k) size = pack(values, n, kNone, kept.data());
  const auto begin = kept.begin(), end = begin + size;
  std::nth_element(begin, begin + (k - 1), end, std::greater<float>());
  const float kth = kept[static_cast<size_t>(k - 1)];
  double sum = 0.0;
  int64_t above = 0;
  for (auto value = begin; value != end; ++value) {
    if (*value > kth) {
      sum += static_cast<double>(*value);
      ++above;
    }
  }
  const double mean = (sum + static_cast<double>(k - above) * static_cast<double>(kth)) / static_cast<double>(k);
  constexpr size_t kKeepAtMost = size_t{1} << 22;  // do not hold on to a huge picture's memory
  if (kept.capacity() > kKeepAtMost) {
    kept.clear();
    kept.shrink_to_fit();
  }
  return mean;
}

}  // namespace alseg
