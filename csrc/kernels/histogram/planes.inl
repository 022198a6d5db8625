// Pixels of the image as three planes of bytes in the space that is counted, a block at a time.

constexpr int64_t kHistogramPitch = kHistogramBlock + 64;  // a plane, with room for whole vectors

typedef uint8_t vc __attribute__((vector_size(16)));

inline vc load_c(const uint8_t* p) {
  vc v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_c(uint8_t* p, vc v) { std::memcpy(p, &v, sizeof v); }

// n interleaved pixels -> planes; reads and writes whole groups of 16.
inline void split_pixels(const uint8_t* in, int64_t n, uint8_t* planes) {
  uint8_t *const r = planes, *const g = planes + kHistogramPitch, *const b = planes + 2 * kHistogramPitch;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const vc x = load_c(in + 3 * i), y = load_c(in + 3 * i + 16), z = load_c(in + 3 * i + 32);
    const vc rxy = __builtin_shufflevector(x, y, 0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 0, 0, 0, 0, 0);
    const vc gxy = __builtin_shufflevector(x, y, 1, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 0, 0, 0, 0, 0);
    const vc bxy = __builtin_shufflevector(x, y, 2, 5, 8, 11, 14, 17, 20, 23, 26, 29, 0, 0, 0, 0, 0, 0);
    store_c(r + i, __builtin_shufflevector(rxy, z, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 17, 20, 23, 26, 29));
    store_c(g + i, __builtin_shufflevector(gxy, z, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 21, 24, 27, 30));
    store_c(b + i, __builtin_shufflevector(bxy, z, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 19, 22, 25, 28, 31));
  }
  for (; i < n; ++i) {
    r[i] = in[3 * i];
    g[i] = in[3 * i + 1];
    b[i] = in[3 * i + 2];
  }
}

inline vi load_lanes(const uint8_t* p) {
  vu8 v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, vi);
}
inline void store_lanes(uint8_t* p, vi v) {
  const vu8 bytes = __builtin_convertvector(v, vu8);
  std::memcpy(p, &bytes, sizeof bytes);
}
inline vi to_int(vf v) { return __builtin_convertvector(v, vi); }
inline vi larger(vi a, vi b) { return a > b ? a : b; }
inline vi smaller(vi a, vi b) { return a < b ? a : b; }

// Planes of RGB -> hue, saturation, value in place, whole vectors of them. The quotients are exact: numerators are
// integers below 2^19 with half a unit added, which is further from the next integer than three roundings reach.
inline void hsv_planes(uint8_t* planes, int64_t n) {
  uint8_t *const x = planes, *const y = planes + kHistogramPitch, *const z = planes + 2 * kHistogramPitch;
  for (int64_t i = 0; i < n; i += kLanes) {
    const vi r = load_lanes(x + i), g = load_lanes(y + i), b = load_lanes(z + i);
    const vi most = larger(r, larger(g, b)), spread = most - smaller(r, smaller(g, b));
    vi sixths = g == most ? b - r + 2 * spread : r - g + 4 * spread;
    sixths = r == most ? g - b : sixths;
    sixths += sixths < 0 ? 6 * spread : vi{};
    const vi some_spread = larger(spread, splat_i(1)), some_most = larger(most, splat_i(1));
    const vf inverse = 1.0f / to_float(6 * some_most * some_spread);
    const vf hue = (to_float(256 * sixths + 3 * spread) + 0.5f) * (to_float(some_most) * inverse);
    const vf saturation = (to_float(510 * spread + most) + 0.5f) * (to_float(3 * spread) * inverse);
    store_lanes(x + i, to_int(hue) & 255);
    store_lanes(y + i, to_int(saturation));
    store_lanes(z + i, most);
  }
}

inline void planes_of(const HistogramJob& job, const uint8_t* pixels, int64_t n, uint8_t* planes) {
  if (job.space == HistogramSpace::lab) {
    lab_row<3>(pixels, n, job.to_xyz, job.roots, planes, planes + kHistogramPitch, planes + 2 * kHistogramPitch);
    return;
  }
  split_pixels(pixels, n, planes);
  if (job.space == HistogramSpace::hsv) hsv_planes(planes, n);
}
