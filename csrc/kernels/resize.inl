// Resizing, channel order, normalisation and layout in one pass over a uint8 picture, one output row at a time:
// the source rows are blended vertically into one float row, which is then blended horizontally per channel.

inline uint16_t float_to_half(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  const uint32_t sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds past 65504
  if (magnitude < 0x38800000u) {  // subnormal half: let the float adder round at the right bit
    float shifted;
    std::memcpy(&shifted, &magnitude, 4);
    shifted += 0.5f;
    uint32_t rounded;
    std::memcpy(&rounded, &shifted, 4);
    return static_cast<uint16_t>(sign | (rounded - 0x3f000000u));
  }
  const uint32_t odd = (magnitude >> 13) & 1u;  // round to nearest, ties to even
  return static_cast<uint16_t>(sign | ((magnitude - 0x38000000u + 0xfffu + odd) >> 13));
}

// One pixel: red, green, blue, and a lane that belongs to the next pixel and is never used.
typedef float pixel __attribute__((vector_size(16)));

inline pixel load_pixel(const float* p) {
  pixel v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline int64_t row_pitch(const ResizeJob& job) { return job.out_w + 4; }

// The blended source row (one lane past its end is readable), then three rows of output channels.
int64_t resize_scratch(const ResizeJob& job) { return job.in_w * 3 + 4 + 3 * row_pitch(job); }

inline void store_channel(const ResizeJob& job, const float* row, int64_t y, int c) {
  const int64_t first = c * job.out_stride_c + y * job.out_stride_h, step = job.out_stride_w;
  if (job.out_dtype == Dtype::f32) {
    float* out = static_cast<float*>(job.out) + first;
    if (step == 1) {
      std::memcpy(out, row, static_cast<size_t>(job.out_w) * sizeof(float));
    } else {
      for (int64_t x = 0; x < job.out_w; ++x) out[x * step] = row[x];
    }
  } else if (job.out_dtype == Dtype::f16) {
    uint16_t* out = static_cast<uint16_t*>(job.out) + first;
    for (int64_t x = 0; x < job.out_w; ++x) out[x * step] = float_to_half(row[x]);
  } else {
    uint8_t* out = static_cast<uint8_t*>(job.out) + first;
    for (int64_t x = 0; x < job.out_w; ++x) {
      const float v = row[x] < 0.0f ? 0.0f : row[x] > 255.0f ? 255.0f : row[x];
      out[x * step] = static_cast<uint8_t>(v + 0.5f);
    }
  }
}

// column [w * 3] = the weighted sum of source rows around output row y.
void blend_source_rows(const ResizeJob& job, int64_t y, float* column) {
  const int64_t values = job.in_w * 3;
  const uint8_t* source = job.image + job.y_index[y] * job.row_stride;
  const float w0 = job.y_weight[y];
  for (int64_t i = 0; i < values; ++i) column[i] = w0 * static_cast<float>(source[i]);
  for (int32_t k = 1; k < job.y_taps; ++k) {
    const float w = job.y_weight[k * job.out_h + y];
    if (w == 0.0f) continue;
    const uint8_t* next = source + k * job.row_stride;
    for (int64_t i = 0; i < values; ++i) column[i] += w * static_cast<float>(next[i]);
  }
}

// Output column x of the blended row: the weighted sum of `taps` neighbouring pixels.
inline pixel blend_columns(const float* column, const int32_t* index, const float* weight, int32_t taps, int64_t x) {
  const float* from = column + 3 * static_cast<int64_t>(index[x]);
  const float* w = weight + x * taps;
  pixel sum = w[0] * load_pixel(from);
  for (int32_t k = 1; k < taps; ++k) sum += w[k] * load_pixel(from + 3 * k);
  return sum;
}

// Rows of red, green and blue from the blended row; four pixels at a time, transposed.
void split_channels(const ResizeJob& job, const float* column, float* rows, int64_t pitch) {
  const int32_t* const index = job.x_index;
  const float* const weight = job.x_weight;
  const int32_t taps = job.x_taps;
  const int64_t width = job.out_w;
  for (int64_t x = 0; x < width; x += 4) {
    pixel p[4] = {};
    if (x + 4 <= width) {
      for (int i = 0; i < 4; ++i) p[i] = blend_columns(column, index, weight, taps, x + i);
    } else {
      for (int i = 0; x + i < width; ++i) p[i] = blend_columns(column, index, weight, taps, x + i);
    }
    const pixel rg0 = __builtin_shufflevector(p[0], p[1], 0, 4, 1, 5), rg1 = __builtin_shufflevector(p[2], p[3], 0, 4, 1, 5);
    const pixel bx0 = __builtin_shufflevector(p[0], p[1], 2, 6, 3, 7), bx1 = __builtin_shufflevector(p[2], p[3], 2, 6, 3, 7);
    const pixel red = __builtin_shufflevector(rg0, rg1, 0, 1, 4, 5), green = __builtin_shufflevector(rg0, rg1, 2, 3, 6, 7);
    const pixel blue = __builtin_shufflevector(bx0, bx1, 0, 1, 4, 5);
    std::memcpy(rows + x, &red, sizeof red);
    std::memcpy(rows + pitch + x, &green, sizeof green);
    std::memcpy(rows + 2 * pitch + x, &blue, sizeof blue);
  }
}

void resize_rows(const ResizeJob& job, int64_t y0, int64_t y1, float* scratch) {
  float* column = scratch;
  float* rows = scratch + job.in_w * 3 + 4;
  const int64_t pitch = row_pitch(job);
  for (int i = 0; i < 4; ++i) column[job.in_w * 3 + i] = 0.0f;
  for (int64_t y = y0; y < y1; ++y) {
    blend_source_rows(job, y, column);
    split_channels(job, column, rows, pitch);
    for (int c = 0; c < 3; ++c) {
      float* row = rows + job.source_channel[c] * pitch;
      const float gain = job.gain[c], bias = job.bias[c];
      const int64_t width = job.out_w;
      for (int64_t x = 0; x < width; ++x) row[x] = row[x] * gain + bias;
      store_channel(job, row, y, c);
    }
  }
}
