// A panel of rows times a group of queries: a matrix product whose result stays in registers.

template <bool kDistance>
inline void tile_of(const float* panel, const float* group, int64_t dim, vf (&sum)[kGroup][2]) {
#pragma GCC unroll 12
  for (int i = 0; i < kGroup; ++i) sum[i][0] = sum[i][1] = vf{};
  for (int64_t j = 0; j < dim; ++j) {
    const vf a = load(panel + j * kPanel), b = load(panel + j * kPanel + kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kGroup; ++i) {
      const vf q = splat(group[j * kGroup + i]);
      if constexpr (kDistance) {
        const vf da = a - q, db = b - q;
        sum[i][0] += da * da;
        sum[i][1] += db * db;
      } else {
        sum[i][0] += a * q;
        sum[i][1] += b * q;
      }
    }
  }
}

// The pairs whose dot product is at least the query's `least`; their number. hits holds kGroup * kPanel.
int knn_hits(const float* panel, const float* group, int64_t dim, int64_t n_rows, const float* least, KnnHit* hits) {
  vf sum[kGroup][2];
  tile_of<false>(panel, group, dim, sum);
  int n = 0;
#pragma GCC unroll 12
  for (int i = 0; i < kGroup; ++i) {
    const vf limit = splat(least[i]);
    if (!any((vi)(sum[i][0] >= limit) | (vi)(sum[i][1] >= limit))) continue;
    float dots[kPanel];
    store(dots, sum[i][0]);
    store(dots + kLanes, sum[i][1]);
    for (int32_t row = 0; row < n_rows; ++row) {
      hits[n] = KnnHit{i, row, dots[row]};
      n += dots[row] >= least[i];
    }
  }
  return n;
}

// distances [kGroup, pitch] of the queries of a group to the first n_rows points of a panel.
void knn_point_distances(const float* panel, const float* group, int64_t dim, int64_t n_rows, int64_t n_queries,
                         int64_t pitch, float* distances) {
  vf sum[kGroup][2];
  tile_of<true>(panel, group, dim, sum);
#pragma GCC unroll 12
  for (int i = 0; i < kGroup; ++i) {
    if (i >= n_queries) continue;
    float row[kPanel];
    store(row, vsqrt(sum[i][0]));
    store(row + kLanes, vsqrt(sum[i][1]));
    std::memcpy(distances + i * pitch, row, static_cast<size_t>(n_rows) * sizeof(float));
  }
}

// For each query of a group the point with the least norms / 2 - dot over all panels (of equal ones the first).
// norms are half the squared lengths, infinite for what pads the last panel.
void knn_nearest_point(const float* panels, const float* group, int64_t dim, const float* norms, int64_t n_points,
                       int32_t* nearest) {
  const int64_t size = kPanel * whole_vectors(dim);
  vf best[kGroup];
  vi at[kGroup];
  for (int i = 0; i < kGroup; ++i) {
    best[i] = splat(__builtin_inff());
    at[i] = vi{};
  }
  vi lane = vi{};
  for (int i = 0; i < kLanes; ++i) lane[i] = i;
  for (int64_t first = 0; first < n_points; first += kPanel, panels += size) {
    vf sum[kGroup][2];
    tile_of<false>(panels, group, dim, sum);
    const vi here = lane + static_cast<int32_t>(first);
    const vf na = load(norms + first), nb = load(norms + first + kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < kGroup; ++i) {
      const vf a = na - sum[i][0], b = nb - sum[i][1];
      const vi second = (vi)(b < a);
      const vf less = vmin(a, b);
      const vi closer = (vi)(less < best[i]);
      at[i] = (closer & (here + (second & kLanes))) | (~closer & at[i]);
      best[i] = vmin(less, best[i]);
    }
  }
  for (int i = 0; i < kGroup; ++i) {
    int lowest = 0;
    for (int k = 1; k < kLanes; ++k)
      if (best[i][k] < best[i][lowest] || (best[i][k] == best[i][lowest] && at[i][k] < at[i][lowest])) lowest = k;
    nearest[i] = at[i][lowest];
  }
}

// The Euclidean distance of two vectors of `dim` floats.
float knn_distance(const float* a, const float* b, int64_t dim) {
  vf sum = vf{};
  for (int64_t j = 0; j < dim; j += kLanes) {
    const bool full = j + kLanes <= dim;
    const vf d = full ? load(a + j) - load(b + j) : load_few(a + j, dim - j) - load_few(b + j, dim - j);
    sum += d * d;
  }
  return __builtin_sqrtf(hsum(sum));
}
