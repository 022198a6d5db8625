// The published recipe in integers: saturation, Pillow's cubic resize to 128 rows, 3 x 3 Gaussian, soft-edged bins.

typedef int32_t vi4 __attribute__((vector_size(16)));
typedef uint8_t vu4 __attribute__((vector_size(4)));

inline int64_t vivid_pitch(const BelharbiJob& job) { return (4 * (job.width + job.across.taps) + 127) / 64 * 64; }
inline int64_t smooth_pitch(const BelharbiJob& job) { return job.pitch + 64; }

// Across: planes of a block and kBelharbiRows rows of four bytes a pixel. Counting: three rows of integers.
int64_t belharbi_scratch(const BelharbiJob& job) {
  const int64_t across = 3 * kHistogramPitch + 3 * kHistogramBlock + 64 + kBelharbiRows * vivid_pitch(job);
  const int64_t counting = 3 * smooth_pitch(job) * static_cast<int64_t>(sizeof(int32_t));
  return (across > counting ? across : counting) / static_cast<int64_t>(sizeof(float));
}

inline vi to_byte(vi v) { return smaller(larger(v, vi{}), splat_i(255)); }

// One row, three times as saturated, as red, green, blue, 0 of each pixel.
inline void vivid_row(const BelharbiJob& job, int64_t y, uint8_t* planes, uint8_t* packed, uint8_t* out) {
  const uint8_t* const row = job.image + y * job.stride_h;
  const bool in_place = job.stride_w == 3 && job.stride_c == 1;
  for (int64_t x = 0; x < job.width; x += kHistogramBlock) {
    const int64_t n = job.width - x < kHistogramBlock ? job.width - x : kHistogramBlock;
    const uint8_t* in = row + x * job.stride_w;
    if (!in_place) {
      for (int64_t i = 0; i < n; ++i, in += job.stride_w)
        for (int64_t c = 0; c < 3; ++c) packed[3 * i + c] = in[c * job.stride_c];
      in = packed;
    }
    split_pixels(in, n, planes);
    for (int64_t i = 0; i < n; i += kLanes) {
      const vi r = load_lanes(planes + i), g = load_lanes(planes + kHistogramPitch + i),
               b = load_lanes(planes + 2 * kHistogramPitch + i);
      const vi luma = (19595 * r + 38470 * g + 7471 * b + (1 << 15)) >> 16;
      const vi pixels = to_byte(3 * r - 2 * luma) | to_byte(3 * g - 2 * luma) << 8 | to_byte(3 * b - 2 * luma) << 16;
      if (i + kLanes <= n) {
        std::memcpy(out + 4 * (x + i), &pixels, sizeof pixels);
      } else {
        std::memcpy(out + 4 * (x + i), &pixels, static_cast<size_t>(4 * (n - i)));
      }
    }
  }
}

// The four sums of a vector of pixels, rounded to bytes.
inline void store_pixel(vi sum, uint8_t* out) {
  vi4 part[kLanes / 4];
  std::memcpy(part, &sum, sizeof sum);
  for (int i = 1; i < kLanes / 4; ++i) part[0] += part[i];
  const vi4 rounded = (part[0] + (1 << (kBelharbiBits - 1))) >> kBelharbiBits;
  const vi4 cut = rounded < 0 ? vi4{} : rounded > 255 ? vi4{} + 255 : rounded;
  const vu4 bytes = __builtin_convertvector(cut, vu4);
  std::memcpy(out, &bytes, 4);  // the fourth is the next pixel's, or padding
}

void belharbi_across(const BelharbiJob& job, int64_t y0, int64_t y1, float* scratch) {
  uint8_t* const planes = reinterpret_cast<uint8_t*>(scratch);
  uint8_t* const packed = planes + 3 * kHistogramPitch;
  uint8_t* const vivid = packed + 3 * kHistogramBlock + 64;
  const int64_t pitch = vivid_pitch(job), taps = job.across.taps;
  std::memset(vivid, 0, static_cast<size_t>(kBelharbiRows * pitch));
  for (int64_t y = y0; y < y1; y += kBelharbiRows) {
    const int64_t rows = y1 - y < kBelharbiRows ? y1 - y : kBelharbiRows;
    for (int64_t r = 0; r < rows; ++r) vivid_row(job, y + r, planes, packed, vivid + r * pitch);
    for (int64_t x = 0; x < job.out_width; ++x) {
      const uint8_t* const from = vivid + 4 * static_cast<int64_t>(job.across.first[x]);
      const int32_t* const weight = job.across.weight + x * taps * 4;
      vi sum[kBelharbiRows] = {};
      for (int64_t k = 0; k < taps; k += kLanes / 4) {
        const vi w = load_i(weight + 4 * k);
        for (int64_t r = 0; r < kBelharbiRows; ++r) sum[r] += w * load_lanes(from + r * pitch + 4 * k);
      }
      for (int64_t r = 0; r < rows; ++r) store_pixel(sum[r], job.rows + (y + r) * job.pitch + 3 * x);
    }
  }
}

void belharbi_along(const BelharbiJob& job, int64_t y0, int64_t y1) {
  for (int64_t y = y0; y < y1; ++y) {
    const int64_t first = job.along.first[y];
    const int32_t* const weight = job.along.weight + y * job.along.taps;
    const int64_t taps = job.height - first < job.along.taps ? job.height - first : job.along.taps;
    for (int64_t i = 0; i < 3 * job.out_width; i += kLanes) {
      vi sum = vi{} + (1 << (kBelharbiBits - 1));
      for (int64_t k = 0; k < taps; ++k) sum += weight[k] * load_lanes(job.rows + (first + k) * job.pitch + i);
      store_lanes(job.small + y * job.pitch + i, to_byte(sum >> kBelharbiBits));
    }
  }
}

// What a value adds to its bin, and to the neighbour if it lies near their common edge.
inline void add_soft(const BelharbiJob& job, int32_t value, uint64_t* counts) {
  constexpr int32_t kWidth = (255 << kBelharbiBits) / kBelharbiBins;
  const int32_t bin = value / kWidth < kBelharbiBins ? value / kWidth : static_cast<int32_t>(kBelharbiBins) - 1;
  const int32_t above = value - bin * kWidth, below = kWidth - above;
  const int32_t near = above < below ? above : below;
  if (near >= kBelharbiEdge) {
    counts[bin] += kBelharbiOne;
    return;
  }
  const int32_t kept = job.shares[(near + (1 << (kBelharbiEdgeStep - 1))) >> kBelharbiEdgeStep];
  const int32_t other = above < below ? bin - 1 : bin + 1;
  counts[bin] += static_cast<uint64_t>(kept);
  if (other >= 0 && other < kBelharbiBins) counts[other] += static_cast<uint64_t>(kBelharbiOne - kept);
}

void belharbi_count(const BelharbiJob& job, int64_t y0, int64_t y1, uint64_t* counts, float* scratch) {
  const int64_t pitch = smooth_pitch(job), n = 3 * job.out_width, inner = n >= 6 ? 3 : 0;
  const int64_t whole = (n + kLanes - 1) / kLanes * kLanes;
  int32_t* const values = reinterpret_cast<int32_t*>(scratch);
  int32_t* const middle = values + pitch + 3;   // the row, with a pixel more at either end
  int32_t* const around = middle + pitch;       // the sum of the rows above and below
  for (int64_t y = y0; y < y1; ++y) {
    const uint8_t* const row = job.small + y * job.pitch;
    const uint8_t* const above = y > 0 ? row - job.pitch : row + job.pitch;
    const uint8_t* const below = y + 1 < kBelharbiHeight ? row + job.pitch : row - job.pitch;
    for (int64_t i = 0; i < n; i += kLanes) {
      store_i(middle + i, load_lanes(row + i));
      store_i(around + i, load_lanes(above + i) + load_lanes(below + i));
    }
    // Beyond what whole vectors fill, the last of them reads three more, for lanes that nobody looks at.
    for (int64_t i = whole; i < whole + 3; ++i) middle[i] = around[i] = 0;
    for (int64_t c = 0; c < 3; ++c) {
      middle[c - 3] = middle[c + inner];
      around[c - 3] = around[c + inner];
      middle[n + c] = middle[n - 3 - inner + c];
      around[n + c] = around[n - 3 - inner + c];
    }
    for (int64_t i = 0; i < n; i += kLanes) {
      const vi sides = load_i(around + i) + load_i(middle + i - 3) + load_i(middle + i + 3);
      const vi corners = load_i(around + i - 3) + load_i(around + i + 3);
      store_i(values + i, job.gaussian[0] * load_i(middle + i) + job.gaussian[1] * sides + job.gaussian[2] * corners);
    }
    for (int64_t i = 0; i < n; i += 3)
      for (int64_t c = 0; c < 3; ++c) add_soft(job, values[i + c], counts + c * kBelharbiBins);
  }
}
