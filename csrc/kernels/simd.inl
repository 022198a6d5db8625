// Small vocabulary on top of the level's vf (floats) and vi (int32), kLanes wide.

typedef uint8_t vu8 __attribute__((vector_size(kLanes)));
typedef uint16_t vu16 __attribute__((vector_size(kLanes * 2)));

inline vf load(const float* p) {
  vf v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline vi load_i(const int32_t* p) {
  vi v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store(float* p, vf v) { std::memcpy(p, &v, sizeof v); }
inline void store_i(int32_t* p, vi v) { std::memcpy(p, &v, sizeof v); }
inline vf splat(float x) { return x - vf{}; }  // x - 0 folds to a broadcast; 0 + x would not (-0)
inline vi splat_i(int32_t x) { return x - vi{}; }
inline vf to_float(vi v) { return __builtin_convertvector(v, vf); }
inline vf vabs(vf v) { return (vf)((vi)v & 0x7fffffff); }

inline float hsum(vf v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) lanes[i] += lanes[i + step];
  return lanes[0];
}
inline float hmax(vf v) {
  float lanes[kLanes];
  store(lanes, v);
  float m = lanes[0];
  for (int i = 1; i < kLanes; ++i) m = lanes[i] > m ? lanes[i] : m;
  return m;
}

// a + f (b - a), by two multiply-adds: the difference, which may lose digits, is never formed.
inline vf lerp(vf a, vf b, vf f) { return f * b + (a - f * a); }

constexpr float kLog2e = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// 2^t for t <= 0 (and for t > 0 up to the range of float), exact at 0, relative error 8e-8 (minimax polynomial of degree 6 on [-1/2, 1/2]). Below -126 the
// result is at most 2^-126, which vanishes beside the 2^0 of the largest term.
inline vf exp2_of(vf t) {
  if (kLanes < 16) t = vmax(t, splat(-126.0f));  // AVX-512's scalef saturates by itself
  vi n;
  const vf whole = round_near(t, &n);
  const vf f = t - whole;
  vf p = splat(0x1.41fbbcp-13f);
  p = p * f + 0x1.5f3e54p-10f;
  p = p * f + 0x1.3b2d4cp-7f;
  p = p * f + 0x1.c6aee8p-5f;
  p = p * f + 0x1.ebfbdcp-3f;
  p = p * f + 0x1.62e43p-1f;
  p = p * f + 1.0f;
  return scale_pow2(p, whole, n);
}

// Natural logarithm of a positive normal number, about 1 ulp (Cephes logf's polynomial).
inline vf log_positive(vf x) {
  const vi bits = (vi)x - 0x3f3504f3;  // so that the mantissa lies in [sqrt(1/2), sqrt(2))
  const vf e = to_float(bits >> 23);
  const vf f = (vf)((bits & 0x7fffff) + 0x3f3504f3) - 1.0f;
  const vf f2 = f * f;
  vf p = splat(7.0376836292e-2f);
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  vf y = p * f * f2;
  y = y - 2.12194440e-4f * e - 0.5f * f2;
  return f + y + 0.693359375f * e;
}

// IEEE half bits to float, subnormals, infinities and NaN included; plain arithmetic, so it vectorises.
inline float half_to_float(uint16_t half) {
  const uint32_t magnitude = (half & 0x7fffu) << 13;
  float value;
  std::memcpy(&value, &magnitude, 4);
  value *= 0x1p112f;  // re-bias the exponent; exact, also for subnormals
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  if ((half & 0x7c00u) == 0x7c00u) bits = magnitude | 0x7f800000u;
  bits |= static_cast<uint32_t>(half & 0x8000u) << 16;
  std::memcpy(&value, &bits, 4);
  return value;
}
inline float bfloat_to_float(uint16_t b) {
  const uint32_t bits = static_cast<uint32_t>(b) << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}
