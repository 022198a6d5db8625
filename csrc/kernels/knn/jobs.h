// Rows of histograms as the search kernels see them, and what they find.
#pragma once
#include <cstdint>

namespace alseg {

enum class HistType : int { f32 = 0, f16 = 1, f64 = 2 };

// Rows [n, dim] of `channels` histograms of dim / channels bins each; scale [n, channels] makes each sum 1.
struct HistRows {
  const void* hist;
  HistType type;
  const double* scale;
  int64_t dim, channels;
};

// A row of a panel whose dot product with a query of a group reaches that query's limit.
struct KnnHit {
  int32_t query, row;
  float dot;
};

}  // namespace alseg
