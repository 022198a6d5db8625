// Upsampling fused with softmax | sigmoid | probabilities and the uncertainty measures, one row at a time.
//
// The C source rows around an output row are blended once into a value row and a difference row, which stay
// in L1. Then, for a few blocks of pixels at a time, one pass over the classes interpolates along x and finds
// the largest, the second largest and the arg-max; a second pass adds up 2^t and t 2^t. Nothing of size
// C x H x W exists at any time.

constexpr int kStep = kLanes * kBlocks;  // pixels in flight

struct Scratch {
  float *row0, *row1;      // [C, pitch] converted source rows y and y + 1
  float *value, *diff;     // [C, pitch] blended row, and value[x + 1] - value[x]
  float* z;                // [C, kStep] interpolated logits of the pixels in flight
  float* measure[kMeasures];  // [W + kStep] rows of measures that have no map
  uint16_t* labels;        // [W + kStep] label row where there is no label map
  int64_t pitch;
};

inline int64_t pitch_of(const UncertaintyJob& job) {
  return (job.in_w + 2 * kLanes - 1) / kLanes * kLanes;  // a full vector may be read from the last column
}

int64_t uncertainty_scratch(const UncertaintyJob& job) {
  return 4 * job.n_classes * pitch_of(job) + job.n_classes * kStep + (kMeasures + 1) * (job.out_w + kStep);
}

inline Scratch carve(const UncertaintyJob& job, float* p) {
  Scratch s;
  s.pitch = pitch_of(job);
  const int64_t plane = job.n_classes * s.pitch;
  s.row0 = p;
  s.row1 = p += plane;
  s.value = p += plane;
  s.diff = p += plane;
  s.z = p += plane;
  p += job.n_classes * kStep;
  for (int m = 0; m < kMeasures; ++m, p += job.out_w + kStep) s.measure[m] = p;
  s.labels = reinterpret_cast<uint16_t*>(p);
  return s;
}

// Source row y of every class as float times `gain`; returns status bits.
unsigned load_row(const UncertaintyJob& job, int64_t y, float gain, float* dst, int64_t pitch) {
  float taint = 0.0f, low = 0.0f, high = 0.0f;  // taint: x - x is 0 for every number, NaN for NaN and inf
  for (int64_t c = 0; c < job.n_classes; ++c) {
    float* out = dst + c * pitch;
    const int64_t first = c * job.stride_c + y * job.stride_h, step = job.stride_w;
    if (job.dtype == Dtype::f32) {
      const float* in = static_cast<const float*>(job.logits) + first;
      if (step == 1) {
        for (int64_t x = 0; x < job.in_w; ++x) out[x] = in[x] * gain;
      } else {
        for (int64_t x = 0; x < job.in_w; ++x) out[x] = in[x * step] * gain;
      }
    } else {
      const uint16_t* in = static_cast<const uint16_t*>(job.logits) + first;
      if (job.dtype == Dtype::f16) {
        for (int64_t x = 0; x < job.in_w; ++x) out[x] = half_to_float(in[x * step]) * gain;
      } else {
        for (int64_t x = 0; x < job.in_w; ++x) out[x] = bfloat_to_float(in[x * step]) * gain;
      }
    }
    for (int64_t x = job.in_w; x < pitch; ++x) out[x] = 0.0f;
    vf bad = vf{}, lo = vf{}, hi = vf{};
    for (int64_t x = 0; x < pitch; x += kLanes) {
      const vf v = load(out + x);
      bad += v - v;
      lo = vmin(lo, v);
      hi = vmax(hi, v);
    }
    taint += hsum(bad);
    low = -hmax(-lo) < low ? -hmax(-lo) : low;
    high = hmax(hi) > high ? hmax(hi) : high;
  }
  unsigned status = taint == 0.0f ? 0u : kNotFinite;
  // Rounding in a half-precision softmax can leave [0, 1] by a thousandth.
  if (job.activation == Activation::probabilities && (low < -2e-3f || high > 1.002f)) status |= kOutOfRange;
  return status;
}

// value = row0 + fy (row1 - row0) and its forward difference, for every class.
void blend_rows(const UncertaintyJob& job, const Scratch& s, float fy) {
  for (int64_t c = 0; c < job.n_classes; ++c) {
    const float* a = s.row0 + c * s.pitch;
    const float* b = s.row1 + c * s.pitch;
    float* v = s.value + c * s.pitch;
    float* d = s.diff + c * s.pitch;
    for (int64_t x = 0; x < s.pitch; x += kLanes) store(v + x, load(a + x) + fy * (load(b + x) - load(a + x)));
    // The last load ends one value past this plane, in the next one; it only reaches differences that no column
    // uses, since the pitch has a vector to spare.
    for (int64_t x = 0; x < s.pitch; x += kLanes) store(d + x, load(v + x + 1) - load(v + x));
  }
}

// Where the pixels in flight lie in the source row.
struct Columns {
  int32_t base[kBlocks];
  vi offset[kBlocks];   // column - base, in [0, kLanes) when narrow
  vf frac[kBlocks];
};

inline Columns columns_at(const UncertaintyJob& job, int64_t x) {
  Columns k;
  for (int b = 0; b < kBlocks; ++b) {
    const int32_t* index = job.x_index + x + b * kLanes;
    k.base[b] = index[0];
    k.offset[b] = load_i(index) - index[0];
    k.frac[b] = load(job.x_frac + x + b * kLanes);
  }
  return k;
}

template <bool kNarrow>
inline vf sample(const float* value, const float* diff, const Columns& k, int b) {
  if (kNarrow) {
    return permute(load(value + k.base[b]), k.offset[b]) +
           k.frac[b] * permute(load(diff + k.base[b]), k.offset[b]);
  }
  vf v, d;
  for (int i = 0; i < kLanes; ++i) {
    v[i] = value[k.base[b] + k.offset[b][i]];
    d[i] = diff[k.base[b] + k.offset[b][i]];
  }
  return v + k.frac[b] * d;
}

// The measures of the pixels in flight.
struct Pixels {
  vf measure[kMeasures][kBlocks];
  vi label[kBlocks];
};

// Softmax. Logits arrive times log2 e, so 2^(z - max) is the usual e^(z - max).
// With t = z - max (base 2): entropy = ln S - ln 2 (sum t 2^t) / S, p1 = 1 / S, p2 = 2^(t of the second) / S.
template <bool kNarrow, bool kTop2, bool kArg>
inline void softmax_block(const UncertaintyJob& job, const Scratch& s, const Columns& k, Pixels* out) {
  // Copies on the stack: a store through a float pointer could change anything else, for all the compiler knows.
  const int64_t classes = job.n_classes, pitch = s.pitch;
  const float *value = s.value, *diff = s.diff;
  float* const row = s.z;
  vf first[kBlocks], second[kBlocks];
  vi arg[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    const vf z = sample<kNarrow>(value, diff, k, b);
    store(row + b * kLanes, z);
    first[b] = z;
    second[b] = splat(-3.0e38f);
    arg[b] = vi{};
  }
  for (int64_t c = 1; c < classes; ++c) {
    value += pitch;
    diff += pitch;
    for (int b = 0; b < kBlocks; ++b) {
      const vf z = sample<kNarrow>(value, diff, k, b);
      store(row + c * kStep + b * kLanes, z);
      if (kArg) arg[b] = z > first[b] ? splat_i(static_cast<int32_t>(c)) : arg[b];
      if (kTop2) second[b] = vmax(second[b], vmin(z, first[b]));
      first[b] = vmax(first[b], z);
    }
  }
  for (int b = 0; b < kBlocks; ++b) out->label[b] = arg[b];
  if (!job.measures) return;
  vf total[kBlocks], moment[kBlocks];
  for (int b = 0; b < kBlocks; ++b) total[b] = moment[b] = vf{};
  for (int64_t c = 0; c < classes; ++c) {
    for (int b = 0; b < kBlocks; ++b) {
      const vf t = load(row + c * kStep + b * kLanes) - first[b];
      const vf e = exp2_nonpositive(t);
      total[b] += e;
      moment[b] += t * e;
    }
  }
  for (int b = 0; b < kBlocks; ++b) {
    const vf inverse = 1.0f / total[b];
    out->measure[0][b] = vmax(log_positive(total[b]) - kLn2 * moment[b] * inverse, vf{});
    if (kTop2) out->measure[1][b] = vmax(1.0f - inverse * (1.0f - exp2_nonpositive(second[b] - first[b])), vf{});
    out->measure[2][b] = vmax(1.0f - inverse, vf{});
  }
}

// Independent sigmoids. With q = e^-|z|: entropy = ln(1 + q) + q |z| / (1 + q), margin = 2 q / (1 + q),
// least confidence = q / (1 + q). Several channels: the mean over channels; one: a two-class problem.
template <bool kNarrow>
inline void sigmoid_block(const UncertaintyJob& job, const Scratch& s, const Columns& k, Pixels* out) {
  vf first[kBlocks], entropy[kBlocks], doubt[kBlocks];
  vi arg[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    first[b] = splat(-3.0e38f);
    entropy[b] = doubt[b] = vf{};
    arg[b] = vi{};
  }
  for (int64_t c = 0; c < job.n_classes; ++c) {
    for (int b = 0; b < kBlocks; ++b) {
      const vf z = sample<kNarrow>(s.value + c * s.pitch, s.diff + c * s.pitch, k, b);
      arg[b] = z > first[b] ? splat_i(static_cast<int32_t>(c)) : arg[b];
      first[b] = vmax(first[b], z);
      const vf a = vabs(z);
      const vf q = exp2_nonpositive(-a);
      const vf low = q / (1.0f + q);
      // a is capped so that inf * 0 cannot arise; beyond it the product is 0 in float anyway.
      entropy[b] += log_positive(1.0f + q) + low * (kLn2 * vmin(a, splat(200.0f)));
      doubt[b] += low;
    }
  }
  const float scale = 1.0f / static_cast<float>(job.n_classes);
  for (int b = 0; b < kBlocks; ++b) {
    out->measure[0][b] = entropy[b] * scale;
    out->measure[1][b] = 2.0f * doubt[b] * scale;
    out->measure[2][b] = doubt[b] * scale;
    out->label[b] = job.n_classes > 1 ? arg[b] : (first[b] >= vf{} ? splat_i(1) : splat_i(0));
  }
}

// Scores that already are probabilities, divided by their sum over classes (all zero: uniform).
// One channel: p and 1 - p.
template <bool kNarrow>
inline void probabilities_block(const UncertaintyJob& job, const Scratch& s, const Columns& k, Pixels* out) {
  const vf tiny = splat(1.2e-38f), one = splat(1.0f);
  if (job.n_classes == 1) {
    for (int b = 0; b < kBlocks; ++b) {
      const vf p = vmin(vmax(sample<kNarrow>(s.value, s.diff, k, b), vf{}), one);
      const vf r = one - p, low = vmin(p, r);
      out->measure[0][b] = vmax(-p * log_positive(vmax(p, tiny)) - r * log_positive(vmax(r, tiny)), vf{});
      out->measure[1][b] = 2.0f * low;
      out->measure[2][b] = low;
      out->label[b] = p >= splat(0.5f) ? splat_i(1) : splat_i(0);
    }
    return;
  }
  vf first[kBlocks], second[kBlocks], total[kBlocks], moment[kBlocks];
  vi arg[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    first[b] = second[b] = splat(-1.0f);
    total[b] = moment[b] = vf{};
    arg[b] = vi{};
  }
  for (int64_t c = 0; c < job.n_classes; ++c) {
    for (int b = 0; b < kBlocks; ++b) {
      const vf p = vmax(sample<kNarrow>(s.value + c * s.pitch, s.diff + c * s.pitch, k, b), vf{});
      arg[b] = p > first[b] ? splat_i(static_cast<int32_t>(c)) : arg[b];
      second[b] = vmax(second[b], vmin(p, first[b]));
      first[b] = vmax(first[b], p);
      total[b] += p;
      moment[b] += p * log_positive(vmax(p, tiny));
    }
  }
  const float n = static_cast<float>(job.n_classes);
  const vf uniform = log_positive(splat(n));
  for (int b = 0; b < kBlocks; ++b) {
    const vi known = total[b] > tiny;
    const vf sum = known ? total[b] : one;
    const vf inverse = 1.0f / sum;
    out->measure[0][b] = known ? vmax(log_positive(sum) - moment[b] * inverse, vf{}) : uniform;
    out->measure[1][b] = known ? vmax(1.0f - (first[b] - second[b]) * inverse, vf{}) : one;
    out->measure[2][b] = known ? vmax(1.0f - first[b] * inverse, vf{}) : splat(1.0f - 1.0f / n);
    out->label[b] = arg[b];
  }
}

inline void store_labels(void* row, int bytes, int64_t x, vi label) {
  if (bytes == 1) {
    const vu8 v = __builtin_convertvector(label, vu8);
    std::memcpy(static_cast<uint8_t*>(row) + x, &v, sizeof v);
  } else {
    const vu16 v = __builtin_convertvector(label, vu16);
    std::memcpy(static_cast<uint16_t*>(row) + x, &v, sizeof v);
  }
}

// Adds the row's pixels to their classes, one run of equal labels at a time.
template <typename Label>
void add_classes(const UncertaintyJob& job, const Label* labels, float* const* rows, const ChunkSums& sums) {
  const int64_t width = job.out_w, per_word = 8 / sizeof(Label), classes = n_labels(job);
  constexpr uint64_t ones = sizeof(Label) == 1 ? 0x0101010101010101u : 0x0001000100010001u;
  for (int64_t begin = 0; begin < width;) {
    const Label label = labels[begin];
    const uint64_t pattern = ones * label;
    int64_t end = begin + 1;
    for (uint64_t word; end + per_word <= width; end += per_word) {
      std::memcpy(&word, labels + end, 8);
      if (word != pattern) break;
    }
    while (end < width && labels[end] == label) ++end;
    sums.class_count[label] += end - begin;
    for (int m = 0; m < kMeasures; ++m) {
      if (!(job.measures >> m & 1u)) continue;
      vf wide = vf{};
      int64_t x = begin;
      for (; x + kLanes <= end; x += kLanes) wide += load(rows[m] + x);
      float run = hsum(wide);
      for (; x < end; ++x) run += rows[m][x];
      sums.class_sum[m * classes + label] += static_cast<double>(run);
    }
    begin = end;
  }
}

// Sum and maximum of a row of one measure.
inline void add_row(const float* row, int64_t width, double* sum, float* max) {
  vf wide = vf{}, top = vf{};  // every measure is >= 0
  int64_t x = 0;
  for (; x + kLanes <= width; x += kLanes) {
    const vf v = load(row + x);
    wide += v;
    top = vmax(top, v);
  }
  float total = hsum(wide), best = hmax(top);
  for (; x < width; ++x) {
    total += row[x];
    best = row[x] > best ? row[x] : best;
  }
  *sum += static_cast<double>(total);
  *max = best > *max ? best : *max;
}

// The last, partial step goes through a buffer: a map row ends where it ends.
void store_tail(const UncertaintyJob& job, const Pixels& pixels, int64_t x, float* const* measure_row, char* label_row) {
  const size_t left = static_cast<size_t>(job.out_w - x);
  float tail[kStep];
  for (int m = 0; m < kMeasures; ++m) {
    if (!(job.measures >> m & 1u)) continue;
    for (int b = 0; b < kBlocks; ++b) store(tail + b * kLanes, pixels.measure[m][b]);
    std::memcpy(measure_row[m] + x, tail, left * sizeof(float));
  }
  if (!label_row) return;
  for (int b = 0; b < kBlocks; ++b) store_labels(tail, job.label_bytes, b * kLanes, pixels.label[b]);
  std::memcpy(label_row + x * job.label_bytes, tail, left * static_cast<size_t>(job.label_bytes));
}

template <bool kNarrow, bool kTop2, bool kArg>
inline void block(const UncertaintyJob& job, const Scratch& s, int64_t x, Pixels* out) {
  const Columns k = columns_at(job, x);
  switch (job.activation) {
    case Activation::softmax: softmax_block<kNarrow, kTop2, kArg>(job, s, k, out); break;
    case Activation::sigmoid: sigmoid_block<kNarrow>(job, s, k, out); break;
    case Activation::probabilities: probabilities_block<kNarrow>(job, s, k, out); break;
  }
}

inline int64_t lower_row(const UncertaintyJob& job, int64_t y) {
  const int64_t top = job.y_index[y];
  return top + 1 < job.in_h ? top + 1 : top;
}

// Downsampling skips source rows; a NaN in one of them must be noticed all the same.
inline void check_skipped_rows(const UncertaintyJob& job, int64_t y, float gain, const Scratch& s,
                               int64_t* loaded0, unsigned* status) {
  const int64_t from = y == 0 ? 0 : lower_row(job, y - 1) + 1;
  for (int64_t r = from; r < job.y_index[y]; ++r) {
    *status |= load_row(job, r, gain, s.row0, s.pitch);
    *loaded0 = -1;
  }
  if (y + 1 < job.out_h) return;
  for (int64_t r = lower_row(job, y) + 1; r < job.in_h; ++r) {
    *status |= load_row(job, r, gain, s.row0, s.pitch);
    *loaded0 = -1;
  }
}

template <bool kNarrow, bool kTop2, bool kArg>
void rows_of(const UncertaintyJob& job, int64_t y0, int64_t y1, const ChunkSums& sums, float* scratch) {
  const Scratch s = carve(job, scratch);
  const float gain = job.activation == Activation::probabilities ? 1.0f : kLog2e;
  const bool want_labels = kArg && (job.labels || job.class_stats);
  int64_t loaded0 = -1, loaded1 = -1;
  Scratch rows = s;
  for (int64_t y = y0; y < y1; ++y) {
    const int64_t top = job.y_index[y], bottom = lower_row(job, y);
    check_skipped_rows(job, y, gain, rows, &loaded0, sums.status);
    if (top != loaded0) {
      if (top == loaded1) {
        float* swap = rows.row0;
        rows.row0 = rows.row1;
        rows.row1 = swap;
      } else {
        *sums.status |= load_row(job, top, gain, rows.row0, rows.pitch);
      }
      loaded0 = top;
      loaded1 = -1;
    }
    if (bottom != loaded1) {
      *sums.status |= load_row(job, bottom, gain, rows.row1, rows.pitch);
      loaded1 = bottom;
    }
    blend_rows(job, rows, job.y_frac[y]);

    float* measure_row[kMeasures];
    for (int m = 0; m < kMeasures; ++m)
      measure_row[m] = job.maps[m] ? job.maps[m] + y * job.out_w : s.measure[m];
    char* label_row = job.labels ? static_cast<char*>(job.labels) + y * job.out_w * job.label_bytes
                                 : reinterpret_cast<char*>(s.labels);
    for (int64_t x = 0; x < job.out_w; x += kStep) {
      Pixels pixels;
      block<kNarrow, kTop2, kArg>(job, rows, x, &pixels);
      if (x + kStep <= job.out_w) {
        for (int m = 0; m < kMeasures; ++m)
          if (job.measures >> m & 1u)
            for (int b = 0; b < kBlocks; ++b) store(measure_row[m] + x + b * kLanes, pixels.measure[m][b]);
        if (want_labels)
          for (int b = 0; b < kBlocks; ++b) store_labels(label_row, job.label_bytes, x + b * kLanes, pixels.label[b]);
      } else {
        store_tail(job, pixels, x, measure_row, want_labels ? label_row : nullptr);
      }
    }
    for (int m = 0; m < kMeasures; ++m)
      if (job.sums && (job.measures >> m & 1u)) add_row(measure_row[m], job.out_w, sums.sum + m, sums.max + m);
    if (job.class_stats) {
      if (job.label_bytes == 1) {
        add_classes(job, reinterpret_cast<const uint8_t*>(label_row), measure_row, sums);
      } else {
        add_classes(job, reinterpret_cast<const uint16_t*>(label_row), measure_row, sums);
      }
    }
  }
}

// Whether every vector of pixels draws on at most kLanes neighbouring source columns.
inline bool is_narrow(const UncertaintyJob& job) {
  for (int64_t x = 0; x < job.out_w; x += kLanes)
    if (job.x_index[x + kLanes - 1] - job.x_index[x] >= kLanes) return false;
  return true;
}

template <bool kNarrow>
void rows_by_need(const UncertaintyJob& job, int64_t y0, int64_t y1, const ChunkSums& sums, float* scratch) {
  const bool top2 = job.measures & kMargin, arg = job.labels || job.class_stats;
  if (top2 && arg) rows_of<kNarrow, true, true>(job, y0, y1, sums, scratch);
  else if (top2) rows_of<kNarrow, true, false>(job, y0, y1, sums, scratch);
  else if (arg) rows_of<kNarrow, false, true>(job, y0, y1, sums, scratch);
  else rows_of<kNarrow, false, false>(job, y0, y1, sums, scratch);
}

void uncertainty_rows(const UncertaintyJob& job, int64_t y0, int64_t y1, const ChunkSums& sums, float* scratch) {
  if (is_narrow(job)) rows_by_need<true>(job, y0, y1, sums, scratch);
  else rows_by_need<false>(job, y0, y1, sums, scratch);
}
