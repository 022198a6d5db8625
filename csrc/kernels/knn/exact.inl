// The Jensen-Shannon divergence in double, added in fixed point: see kernels/js_rerank/reference.py.

constexpr int kPairs = kLanes / 2;
typedef double vd __attribute__((vector_size(kPairs * 8)));
typedef int64_t vl __attribute__((vector_size(kPairs * 8)));

inline vd choose(vl where, vd a, vd b) { return (vd)((where & (vl)a) | (~where & (vl)b)); }
inline vd splat_d(double x) { return x - vd{}; }

// ln(1 + x) for x > -1, error below 1 ulp (the fdlibm scheme: 1 + x = 2^k (1 + f), and what 1 + x lost is put back).
inline vd log1p_of(vd x) {
  const vd u = 1.0 + x;
  const vd lost = x - (u - 1.0);
  constexpr int64_t kRootHalf = 0x3fe6a09e667f3bcd;
  const vl bits = (vl)u - kRootHalf;
  const vl k = bits >> 52;
  const vd f = (vd)((bits & 0x000fffffffffffff) + kRootHalf) - 1.0;
  constexpr double kMagic = 0x1.8p52;  // converts small integers both ways
  const vd e = (vd)(k + (int64_t)0x4338000000000000) - kMagic;
  const vd s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
  vd r = splat_d(1.479819860511658591e-01);
  r = r * z + 1.531383769920937332e-01;
  r = r * z + 1.818357216161805012e-01;
  r = r * z + 2.222219843214978396e-01;
  r = r * z + 2.857142874366239149e-01;
  r = r * z + 3.999999999940941908e-01;
  r = r * z + 6.666666666666735130e-01;
  r = r * z;
  const vd low = e * 1.90821492927058770002e-10 + lost / u;
  return e * 6.93147180369123816490e-01 - ((half - (s * (half + r) + low)) - f);
}

// m g(a) as multiples of 2^-60.
inline vl exact_term(vd p, vd q, double weight) {
  const vd sum = p + q, m = sum / 2.0, apart = p >= q ? p - q : q - p;
  const vl some = (vl)(sum > 0.0);
  const vd a = apart / choose(some, sum, splat_d(1.0));
  const vd rest = 1.0 - a;
  const vl both = (vl)(rest > 0.0);
  const vd inner = log1p_of(choose(both, -a, vd{})) * rest;  // rest = 0: 0
  vd term = m * ((1.0 + a) * log1p_of(a) + inner) / 2.0 * weight;
  term = term > 0.0 ? term : vd{};
  // Rounded in two parts, for the whole does not fit the 52 bits that adding a constant rounds to.
  constexpr double kMagic = 0x1.8p52;
  constexpr int64_t kMagicBits = 0x4338000000000000;
  const vd high_sum = term * 0x1p30 + kMagic;
  const vd high = high_sum - kMagic;
  const vd low_sum = (term * 0x1p30 - high) * 0x1p30 + kMagic;
  return (((vl)high_sum - kMagicBits) << 30) + ((vl)low_sum - kMagicBits);
}

template <typename T>
inline void shares_from(const HistRows& rows, int64_t row, double* shares) {
  const T* const hist = static_cast<const T*>(rows.hist) + row * rows.dim;
  const int64_t bins = rows.dim / rows.channels;
  for (int64_t c = 0; c < rows.channels; ++c) {
    const double scale = rows.scale[row * rows.channels + c];
    for (int64_t j = c * bins; j < (c + 1) * bins; ++j) {
      if constexpr (sizeof(T) == 2) shares[j] = static_cast<double>(half_to_float(hist[j])) * scale;
      else shares[j] = static_cast<double>(hist[j]) * scale;
    }
  }
}

// shares [dim]: a row's bins times the scale of their channel. They go through memory, so that no product is fused
// with the sums that follow: those would then depend on which of two rows is the query.
void js_shares(const HistRows& rows, int64_t row, double* shares) {
  if (rows.type == HistType::f16) shares_from<uint16_t>(rows, row, shares);
  else if (rows.type == HistType::f64) shares_from<double>(rows, row, shares);
  else shares_from<float>(rows, row, shares);
}

inline vd load_d(const double* p) {
  vd v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The divergence of shares p and q [dim].
double js_exact(const double* p, const double* q, int64_t dim, int64_t channels, const double* weights) {
  const int64_t bins = dim / channels;
  vl sum = vl{};
  for (int64_t c = 0; c < channels; ++c, p += bins, q += bins) {
    int64_t j = 0;
    for (; j + kPairs <= bins; j += kPairs) sum += exact_term(load_d(p + j), load_d(q + j), weights[c]);
    if (j == bins) continue;
    double a[kPairs] = {}, b[kPairs] = {};
    std::memcpy(a, p + j, static_cast<size_t>(bins - j) * sizeof(double));
    std::memcpy(b, q + j, static_cast<size_t>(bins - j) * sizeof(double));
    sum += exact_term(load_d(a), load_d(b), weights[c]);
  }
  int64_t total = 0;
  for (int i = 0; i < kPairs; ++i) total += sum[i];
  return static_cast<double>(total) * 0x1p-60;
}
