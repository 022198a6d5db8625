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

// The same for few queries (rows `which` of `embedded`): row by row, which saves the panel. Rows first .. first + n - 1,
// n <= kPanel; scratch holds knn_panel_scratch(dim).
int knn_row_hits(const HistRows& rows, int64_t first, int64_t n, const double* weights, const float* embedded,
                 const int32_t* which, int64_t n_queries, const float* least, float* scratch, KnnHit* hits) {
  const int64_t pitch = whole_vectors(rows.dim);
  int found = 0;
  for (int64_t at = 0; at < n; at += kLanes) {
    const int64_t count = n - at < kLanes ? n - at : kLanes;
    if (count < kLanes) std::memset(scratch, 0, static_cast<size_t>(kLanes * pitch) * sizeof(float));
    for (int64_t i = 0; i < count; ++i) row_values<true>(rows, first + at + i, weights, scratch + i * pitch);
    for (int64_t q = 0; q < n_queries; ++q) {
      const float* const query = embedded + which[q] * pitch;
      vf sum[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) sum[i] = vf{};
      for (int64_t j = 0; j < pitch; j += kLanes) {
        const vf own = load(query + j);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) sum[i] += own * load(scratch + i * pitch + j);
      }
      transpose(sum);
#pragma GCC unroll 16
      for (int i = 1; i < kLanes; ++i) sum[0] += sum[i];
      if (!any((vi)(sum[0] >= splat(least[q])))) continue;
      float dots[kLanes];
      store(dots, sum[0]);
      for (int64_t i = 0; i < count; ++i) {
        hits[found] = KnnHit{static_cast<int32_t>(q), static_cast<int32_t>(at + i), dots[i]};
        found += dots[i] >= least[q];
      }
    }
  }
  return found;
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
