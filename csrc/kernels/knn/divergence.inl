// The Jensen-Shannon divergence in float, with a bound of its error.
//
// With m = (p + q) / 2 and a = |p - q| / (p + q), a bin adds m g(a), g(a) = ((1 + a) ln(1 + a) + (1 - a) ln(1 - a)) / 2.
// Every term is >= 0 and scales with p and q, so weights of channels are folded into both.

// g(a) where a < 1/2: its power series in a^2, sum of a^2k / (2k (2k - 1)); what is cut off is below 1e-7 of it.
inline vf g_of_small(vf a2) {
  vf s = splat(1.0f / 306);
  s = s * a2 + 1.0f / 240;
  s = s * a2 + 1.0f / 182;
  s = s * a2 + 1.0f / 132;
  s = s * a2 + 1.0f / 90;
  s = s * a2 + 1.0f / 56;
  s = s * a2 + 1.0f / 30;
  s = s * a2 + 1.0f / 12;
  s = s * a2 + 0.5f;
  return s * a2;
}

inline vf divergence_term(vf p, vf q) {
  const vf sum = p + q, inverse = 1.0f / (sum + 1e-35f);
  const vf high = vmax(p, q), low = vmin(p, q);
  const vf a = (high - low) * inverse;
  const vf y = 2.0f * high * inverse, z = 2.0f * low * inverse;  // 1 + a and 1 - a, both with a small relative error
  const vf g = 0.5f * (y * log_positive(vmax(y, splat(0.5f))) + z * log_positive(z));  // z = 0: the logarithm is finite
  const vi small = (vi)(a < 0.5f);
  return 0.5f * sum * (vf)((small & (vi)g_of_small(a * a)) | (~small & (vi)g));
}

// The same with an error relative to m, not to the term, and one logarithm: (1 + a) ln(1 + a) is smooth on [0, 1] (a
// minimax polynomial, error 5e-8), and ln z, z = 1 - a, is e ln 2 + ln(1 + f) (another, error 4e-8).
inline vf quick_term(vf p, vf q) {
  const vf sum = p + q, inverse = 1.0f / (sum + 1e-35f);
  const vf high = vmax(p, q), low = vmin(p, q);
  const vf a = (high - low) * inverse, z = (low + low) * inverse;
  vf s = splat(-2.528490802e-03f);
  s = s * a + 1.382920452e-02f;
  s = s * a - 3.798368746e-02f;
  s = s * a + 7.875613206e-02f;
  s = s * a - 1.656783301e-01f;
  s = s * a + 4.998957108e-01f;
  s = s * a + 1.000003780e+00f;
  const vi bits = (vi)z - 0x3f3504f3;
  const vf e = to_float(bits >> 23);
  const vf f = (vf)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  vf t = splat(-1.009301814e-01f);
  t = t * f + 1.641629373e-01f;
  t = t * f - 1.733503695e-01f;
  t = t * f + 1.987361112e-01f;
  t = t * f - 2.495925189e-01f;
  t = t * f + 3.333615918e-01f;
  t = t * f - 5.000066928e-01f;
  t = t * f + 9.999998155e-01f;
  return sum * (s * a + z * (t * f + e * kLn2));  // z = 0: the logarithm is finite
}

constexpr int64_t kAddedAtOnce = 32;  // vectors that are added before their sum is added to the whole

// The divergence of masses p [whole_vectors(dim)] and of a row: its masses are formed here, see row_values.
template <typename T>
inline float divergence_from(const float* p, const HistRows& rows, int64_t row, const double* weights) {
  const T* const hist = static_cast<const T*>(rows.hist) + row * rows.dim;
  const int64_t bins = rows.dim / rows.channels, whole = bins / kLanes * kLanes;
  vf total = vf{}, part = vf{};
  int64_t added = 0;
  for (int64_t c = 0; c < rows.channels; ++c) {
    const vf root = splat(root_of(rows, row, c, weights));
    for (int64_t j = 0; j < bins; j += kLanes) {
      const bool full = j < whole;
      const vf q = full ? load_bins(hist + c * bins + j) : load_few(hist + c * bins + j, bins - j);
      const vf own = full ? load(p + c * bins + j) : load_few(p + c * bins + j, bins - j);
      part += quick_term(own, q * root * root);
      if (++added % kAddedAtOnce == 0) {
        total += part;
        part = vf{};
      }
    }
  }
  return 0.25f * hsum(total + part);
}

float knn_divergence(const float* p, const HistRows& rows, int64_t row, const double* weights) {
  return rows.type == HistType::f16 ? divergence_from<uint16_t>(p, rows, row, weights)
                                    : divergence_from<float>(p, rows, row, weights);
}

// How far knn_divergence can be from the truth. In units of u = 2^-24: the masses have relative errors of 4 u, and
// P dJSD/dP = P ln(2 P / (P + Q)) / 2, whose absolute values add up to less than 0.54 on each side: 4.3 u. A term has
// an error of at most 12 u of m (a and z have relative errors of 3 u, where (1 + a) ln(1 + a) has a slope of at most
// 1 + ln 2 and |z (ln z - 1)| is at most 1; the polynomials and the operations after them add the rest), and the m add
// up to 1. The terms are positive up to that, with a sum of at most ln 2, so adding them costs less than u times the
// number of additions in a chain. Half as much again is the margin.
float knn_divergence_error(int64_t dim, int64_t channels) {
  const int64_t vectors = channels * ((dim / channels + kLanes - 1) / kLanes);
  const int64_t chain = (vectors < kAddedAtOnce ? vectors : kAddedAtOnce + vectors / kAddedAtOnce) + 6;
  return 1.5f * 0x1p-24f * (16.5f + 0.7f * static_cast<float>(chain));
}

// The sum of the divergences of one row `p` [pitch] (masses that add up to 1) and n others.
double js_row_sum(const float* p, const float* others, int64_t pitch, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; ++i) {
    vf total = vf{}, part = vf{};
    for (int64_t j = 0; j < pitch; j += kLanes) {
      part += divergence_term(load(p + j), load(others + i * pitch + j));
      if ((j / kLanes + 1) % kAddedAtOnce == 0) {
        total += part;
        part = vf{};
      }
    }
    sum += static_cast<double>(hsum(total + part));
  }
  return sum;
}
