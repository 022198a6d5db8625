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

inline vi to_int(vf v) { return __builtin_convertvector(v, vi); }
inline vi larger(vi a, vi b) { return a > b ? a : b; }
inline vi smaller(vi a, vi b) { return a < b ? a : b; }

// Planes of RGB -> hue, saturation, value in place, whole vectors of them. The quotients are exact: numerators are
// integers below 2^19 with half a unit added, which is at least 3e-4 of a quotient of at most 256 from the next
// integer; `about_inverse` and the two roundings after it are off by less than 1e-4 of it.
inline void hsv_planes(uint8_t* planes, int64_t n) {
  uint8_t *const x = planes, *const y = planes + kHistogramPitch, *const z = planes + 2 * kHistogramPitch;
  const vf one = splat(1.0f);
  for (int64_t i = 0; i < n; i += kLanes) {
    const vf r = to_float(load_lanes(x + i)), g = to_float(load_lanes(y + i)), b = to_float(load_lanes(z + i));
    const vf most = vmax(r, vmax(g, b)), spread = most - vmin(r, vmin(g, b));
    vf sixths = g == most ? 2.0f * spread + (b - r) : 4.0f * spread + (r - g);
    sixths = r == most ? g - b : sixths;
    sixths = sixths < 0.0f ? sixths + 6.0f * spread : sixths;
    const vf some_most = vmax(most, one);
    const vf inverse = about_inverse(6.0f * some_most * vmax(spread, one));
    const vf hue = (256.0f * sixths + (3.0f * spread + 0.5f)) * (some_most * inverse);
    const vf saturation = (510.0f * spread + (most + 0.5f)) * (3.0f * spread * inverse);
    store_lanes(x + i, to_int(hue) & 255);
    store_lanes(y + i, to_int(saturation));
    store_lanes(z + i, to_int(most));
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
