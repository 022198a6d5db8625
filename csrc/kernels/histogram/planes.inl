// Pixels of the image as three planes of bytes in the space that is counted, a block at a time.

constexpr int64_t kHistogramPitch = kHistogramBlock + 64;  // a plane, with room for whole vectors

// n interleaved pixels -> planes; reads and writes whole groups of 16.
inline void split_pixels(const uint8_t* in, int64_t n, uint8_t* planes) {
  uint8_t *const r = planes, *const g = planes + kHistogramPitch, *const b = planes + 2 * kHistogramPitch;
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) split_16(in + 3 * i, r + i, g + i, b + i);
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

// CIELAB by tables of integers, as in lab_row, with a and b of a pixel as halves of one sum.
inline void lab_planes(const HistogramJob& job, const uint8_t* __restrict pixels, int64_t n, uint8_t* __restrict planes,
                       uint32_t* __restrict sums) {
  const uint64_t* const to_xyz = job.to_xyz;
  const uint32_t *const of_x = job.ab, *const of_y = job.ab + 8192, *const of_z = job.ab + 2 * 8192;
  const uint8_t* const lightness = job.lightness;
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t xyz = to_xyz[pixels[3 * i]] + to_xyz[256 + pixels[3 * i + 1]] + to_xyz[512 + pixels[3 * i + 2]];
    const uint32_t y = static_cast<uint32_t>(xyz >> 29) & 8191;
    sums[i] = of_x[xyz >> 8 & 8191] + of_y[y] + of_z[xyz >> 50];
    planes[i] = lightness[y];
  }
  for (int64_t i = 0; i < n; i += kLanes) {
    vi ab;
    std::memcpy(&ab, sums + i, sizeof ab);
    store_lanes(planes + kHistogramPitch + i, (ab & 0xffff) >> 6);
    store_lanes(planes + 2 * kHistogramPitch + i, ab >> 23 & 255);
  }
}

inline void planes_of(const HistogramJob& job, const uint8_t* pixels, int64_t n, uint8_t* planes, uint32_t* sums) {
  if (job.space == HistogramSpace::lab) return lab_planes(job, pixels, n, planes, sums);
  split_pixels(pixels, n, planes);
  if (job.space == HistogramSpace::hsv) hsv_planes(planes, n);
}
