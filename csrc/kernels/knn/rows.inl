// Rows of histograms as vectors: as numbers, as embedded rows, and in the two orders that the tiles multiply.

constexpr int64_t kPanel = 2 * kLanes;                          // rows that are multiplied at once ...
constexpr int kGroup = kLanes >= 16 ? 12 : kLanes >= 8 ? 6 : 4;  // ... with so many queries: what the registers hold

inline int64_t whole_vectors(int64_t n) { return (n + kLanes - 1) / kLanes * kLanes; }

// Finite half-precision numbers >= 0.
inline vf load_half(const uint16_t* p) {
  vu16 bits;
  std::memcpy(&bits, p, sizeof bits);
  return (vf)((__builtin_convertvector(bits, vi) & 0x7fff) << 13) * 0x1p112f;  // re-biases the exponent; exact
}
template <typename T>
inline vf load_bins(const T* p) {
  if constexpr (sizeof(T) == 2) return load_half(p);
  else return load(p);
}
// The first n < kLanes bins at p, then zeros.
template <typename T>
inline vf load_few(const T* p, int64_t n) {
  T some[kLanes] = {};
  std::memcpy(some, p, static_cast<size_t>(n) * sizeof(T));
  return load_bins(some);
}

// What a row's bins are multiplied with, as a square root: in range for every sum a float row can have.
inline float root_of(const HistRows& rows, int64_t row, int64_t c, const double* weights) {
  return static_cast<float>(__builtin_sqrt(weights[c] * rows.scale[row * rows.channels + c]));
}

// out [whole_vectors(dim)] = sqrt(weight * share) of a row (relative error 3 u, u = 2^-24), or weight * share (4 u).
template <bool kRoot, typename T>
inline void row_values(const HistRows& rows, int64_t row, const double* weights, float* out) {
  const T* const hist = static_cast<const T*>(rows.hist) + row * rows.dim;
  const int64_t bins = rows.dim / rows.channels, whole = bins / kLanes * kLanes;
  const auto value = [](vf x, vf root) { return kRoot ? vsqrt(x) * root : x * root * root; };
  for (int64_t c = 0; c < rows.channels; ++c) {
    const vf root = splat(root_of(rows, row, c, weights));
    const T* const from = hist + c * bins;
    float* const to = out + c * bins;
    for (int64_t j = 0; j < whole; j += kLanes) store(to + j, value(load_bins(from + j), root));
    if (whole == bins) continue;
    float rest[kLanes];
    store(rest, value(load_few(from + whole, bins - whole), root));
    std::memcpy(to + whole, rest, static_cast<size_t>(bins - whole) * sizeof(float));
  }
  for (int64_t j = rows.dim; j < whole_vectors(rows.dim); ++j) out[j] = 0.0f;
}
template <bool kRoot>
inline void row_values(const HistRows& rows, int64_t row, const double* weights, float* out) {
  if (rows.type == HistType::f16) row_values<kRoot, uint16_t>(rows, row, weights, out);
  else row_values<kRoot, float>(rows, row, weights, out);
}

int64_t knn_padded(int64_t dim) { return whole_vectors(dim); }
void knn_embed_row(const HistRows& rows, int64_t row, const double* weights, float* out) {
  row_values<true>(rows, row, weights, out);
}
void knn_mass_row(const HistRows& rows, int64_t row, const double* weights, float* out) {
  row_values<false>(rows, row, weights, out);
}

// kLanes vectors of length `pitch` -> column `at` of a panel [pitch, kPanel].
inline void strip_to_panel(const float* strip, int64_t pitch, float* panel) {
  for (int64_t j = 0; j < pitch; j += kLanes) {
    vf v[kLanes];
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) v[i] = load(strip + i * pitch + j);
    transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) store(panel + (j + i) * kPanel, v[i]);
  }
}

// Room for kLanes embedded rows.
int64_t knn_panel_scratch(int64_t dim) { return kLanes * whole_vectors(dim); }
int64_t knn_panel_floats(int64_t dim) { return kPanel * whole_vectors(dim); }

// Rows first .. first + n - 1, n <= kPanel, embedded and side by side: panel [dim, kPanel]; zeros behind the last.
void knn_pack_panel(const HistRows& rows, int64_t first, int64_t n, const double* weights, float* scratch,
                    float* panel) {
  const int64_t pitch = whole_vectors(rows.dim);
  for (int64_t at = 0; at < kPanel; at += kLanes) {
    for (int64_t i = 0; i < kLanes; ++i) {
      if (at + i < n) row_values<true>(rows, first + at + i, weights, scratch + i * pitch);
      else std::memset(scratch + i * pitch, 0, static_cast<size_t>(pitch) * sizeof(float));
    }
    strip_to_panel(scratch, pitch, panel + at);
  }
}

// The same of n <= kPanel points [n, dim] as they are.
void knn_pack_points(const float* points, int64_t dim, int64_t n, float* scratch, float* panel) {
  const int64_t pitch = whole_vectors(dim);
  for (int64_t at = 0; at < kPanel; at += kLanes) {
    std::memset(scratch, 0, static_cast<size_t>(kLanes * pitch) * sizeof(float));
    for (int64_t i = 0; i < kLanes && at + i < n; ++i)
      std::memcpy(scratch + i * pitch, points + (at + i) * dim, static_cast<size_t>(dim) * sizeof(float));
    strip_to_panel(scratch, pitch, panel + at);
  }
}

// n <= kGroup rows of `vectors` (floats `pitch` apart) side by side: group [dim, kGroup]; zeros behind the last.
void knn_pack_group(const float* vectors, int64_t pitch, const int32_t* which, int64_t n, int64_t dim, float* group) {
  for (int64_t i = 0; i < kGroup; ++i) {
    if (i >= n) {
      for (int64_t j = 0; j < dim; ++j) group[j * kGroup + i] = 0.0f;
      continue;
    }
    const float* const from = vectors + which[i] * pitch;
    for (int64_t j = 0; j < dim; ++j) group[j * kGroup + i] = from[j];
  }
}
