// Blocks of pixels between the two orders: classes side by side, or pixels side by side.

// Lanes that two vectors `STEP` apart exchange in one pass of a transposition.
template <int STEP>
struct Exchange {
  int32_t low[kLanes] = {}, high[kLanes] = {};
  constexpr Exchange() {
    for (int i = 0; i < kLanes; ++i) {
      low[i] = i & STEP ? i - STEP + kLanes : i;
      high[i] = i & STEP ? i + kLanes : i + STEP;
    }
  }
};

// Transposes kLanes vectors in place.
template <int STEP>
inline void transpose_from(vf* v) {
  if constexpr (STEP < kLanes) {
    static constexpr Exchange<STEP> lanes;
    const vi low = load_i(lanes.low), high = load_i(lanes.high);
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) {
      if (i & STEP) continue;
      const vf a = v[i], b = v[i + STEP];
      v[i] = __builtin_shuffle(a, b, low);
      v[i + STEP] = __builtin_shuffle(a, b, high);
    }
    transpose_from<2 * STEP>(v);
  }
}
inline void transpose(vf* v) { transpose_from<1>(v); }

// [kCrfBlock pixels, pitch] -> [pitch classes, kCrfBlock]. V is the vectors of a pixel where the compiler is to know
// them, or 0.
template <int V>
inline void to_planes(const float* pixels, int64_t any_pitch, float* planes) {
  const int64_t pitch = V ? V * kLanes : any_pitch;
  for (int at = 0; at < kCrfBlock; at += kLanes) {
    for (int64_t c = 0; c < pitch; c += kLanes) {
      vf v[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) v[i] = load(pixels + (at + i) * pitch + c);
      transpose(v);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(planes + (c + i) * kCrfBlock + at, v[i]);
    }
  }
}
template <int V>
inline void to_pixels(const float* planes, int64_t any_pitch, float* pixels) {
  const int64_t pitch = V ? V * kLanes : any_pitch;
  for (int at = 0; at < kCrfBlock; at += kLanes) {
    for (int64_t c = 0; c < pitch; c += kLanes) {
      vf v[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) v[i] = load(planes + (c + i) * kCrfBlock + at);
      transpose(v);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(pixels + (at + i) * pitch + c, v[i]);
    }
  }
}
