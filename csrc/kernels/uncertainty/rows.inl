// Upsampling fused with softmax | sigmoid | probabilities and the uncertainty measures, one row at a time.
//
// The source rows around an output row, of every pass and class, are blended once into a row that stays in the
// cache. Then a few blocks of pixels at a time are interpolated along x, turned
// into probabilities and reduced to measures (one_pass.inl, passes.inl). Nothing of size C x H x W exists at any
// time, nor anything of size T x H x W.

constexpr int kStep = kLanes * kBlocks;  // pixels in flight
constexpr int kRows = 4;                 // rows of one progression in bands.inl: its error grows with them
constexpr int kBandRows = 16;            // rows of a band that are worked on together
constexpr int kInFlight = kStep > kRows * kLanes ? kStep : kRows * kLanes;
constexpr int kCell = 3 * kLanes;        // floats of a Cell
constexpr int kColumns = 4;              // column blocks whose cells are made together: they share cache lines

struct Scratch {
  float *row0, *row1;      // [T C, pitch] converted source rows y and y + 1
  float* value;            // [T C, pitch] blended row
  float* cells;            // [kColumns, T C, kCell]
  float* z;                // [T C, kInFlight] logits, later numerators, of the pixels in flight
  float *inverse, *extra;  // [T, kInFlight] a pass's probability is z * inverse + extra
  int32_t* votes;          // [T, kInFlight] arg-max of each pass
  float* measure[kMeasures];  // [kBandRows, stride] rows of measures on their way to maps and sums
  int32_t* label_ids;      // [stride] labels as keys of runs, -1 where a pixel is not valid
  char* labels;            // [kBandRows, stride] label rows
  int64_t pitch, stride;
};

inline int64_t planes_of(const UncertaintyJob& job) { return job.n_passes * job.n_classes; }

inline int64_t pitch_of(const UncertaintyJob& job) {
  return (job.in_w + 2 * kLanes - 1) / kLanes * kLanes;  // a full vector may be read from the last column
}

// A row of output in scratch memory. An odd number of cache lines: rows of a band are written column by column,
// and at a distance of whole pages they would fight for the same few places of the cache.
inline int64_t stride_of(const UncertaintyJob& job) {
  constexpr int64_t line = 16;  // floats
  const int64_t whole = (job.out_w + kStep - 1) / kStep * kStep;
  return whole / line % 2 ? whole : whole + line;
}

int64_t uncertainty_scratch(const UncertaintyJob& job) {
  return planes_of(job) * (3 * pitch_of(job) + kColumns * kCell + kInFlight) + 3 * job.n_passes * kInFlight +
         ((kMeasures + 1) * kBandRows + 1) * stride_of(job);
}

inline Scratch carve(const UncertaintyJob& job, float* p) {
  Scratch s;
  s.pitch = pitch_of(job);
  s.stride = stride_of(job);
  const auto take = [&p](int64_t floats) {
    float* const block = p;
    p += floats;
    return block;
  };
  const int64_t plane = planes_of(job) * s.pitch, pixels = job.n_passes * kInFlight;
  s.row0 = take(plane);
  s.row1 = take(plane);
  s.value = take(plane);
  s.cells = take(kColumns * planes_of(job) * kCell);
  s.z = take(planes_of(job) * kInFlight);
  s.inverse = take(pixels);
  s.extra = take(pixels);
  s.votes = reinterpret_cast<int32_t*>(take(pixels));
  for (int m = 0; m < kMeasures; ++m) s.measure[m] = take(kBandRows * s.stride);
  s.label_ids = reinterpret_cast<int32_t*>(take(s.stride));
  s.labels = reinterpret_cast<char*>(take(kBandRows * s.stride));
  return s;
}

// One output row on its way.
struct Row {
  float* measure[kMeasures];
  char* labels;
};

// Row r of a band in scratch memory, with room for whole vectors at its end.
inline Row scratch_row(const UncertaintyJob& job, const Scratch& s, int64_t r) {
  Row row;
  for (int m = 0; m < kMeasures; ++m) row.measure[m] = s.measure[m] + r * s.stride;
  row.labels = s.labels + r * s.stride * job.label_bytes;
  return row;
}

// Row y where it belongs: in the maps that are wanted, else in scratch memory. It ends where it ends.
inline Row map_row(const UncertaintyJob& job, const Scratch& s, int64_t y) {
  Row row = scratch_row(job, s, 0);
  for (int m = 0; m < kMeasures; ++m)
    if (job.maps[m]) row.measure[m] = job.maps[m] + y * job.out_w;
  if (job.labels) row.labels = static_cast<char*>(job.labels) + y * job.out_w * job.label_bytes;
  return row;
}

// Copies a scratch row to the maps that are wanted.
inline void deliver_row(const UncertaintyJob& job, const Row& row, int64_t y) {
  const size_t width = static_cast<size_t>(job.out_w), bytes = static_cast<size_t>(job.label_bytes);
  for (int m = 0; m < kMeasures; ++m)
    if (job.maps[m]) std::memcpy(job.maps[m] + y * job.out_w, row.measure[m], width * sizeof(float));
  if (job.labels)
    std::memcpy(static_cast<char*>(job.labels) + y * job.out_w * job.label_bytes, row.labels, width * bytes);
}

// One source row of one plane as float.
inline void convert_row(const UncertaintyJob& job, int64_t first, float* __restrict out) {
  const int64_t step = job.stride_w;
  if (job.dtype == Dtype::f32) {
    const float* in = static_cast<const float*>(job.logits) + first;
    if (step == 1) {
      for (int64_t x = 0; x < job.in_w; ++x) out[x] = in[x];
    } else {
      for (int64_t x = 0; x < job.in_w; ++x) out[x] = in[x * step];
    }
    return;
  }
  const uint16_t* in = static_cast<const uint16_t*>(job.logits) + first;
  if (job.dtype == Dtype::f16) {
    for (int64_t x = 0; x < job.in_w; ++x) out[x] = half_to_float(in[x * step]);
  } else {
    for (int64_t x = 0; x < job.in_w; ++x) out[x] = bfloat_to_float(in[x * step]);
  }
}

// Logits become exponents of 2 after they are interpolated, so that a scaling does not round them before.
inline float gain_of(const UncertaintyJob& job) { return kLog2e * job.inverse_temperature; }

// What a logit is clipped to, so that a finite one stays finite: differences are taken, and multiplied by the gain.
inline vf ceiling_of(const UncertaintyJob& job) {
  const float gain = gain_of(job);
  return splat(gain > 1.0f ? 1e37f / gain : 1e37f);
}

// Takes from the classes of one pass the largest of them, column by column. A softmax does not notice, and what is
// interpolated keeps its digits however large the logits are.
inline void centre_classes(int64_t classes, int64_t pitch, vf ceiling, float* pass) {
  for (int64_t x = 0; x < pitch; x += kLanes) {
    vf largest = load(pass + x);
    for (int64_t c = 1; c < classes; ++c) largest = vmax(largest, load(pass + c * pitch + x));
    for (int64_t c = 0; c < classes; ++c)
      store(pass + c * pitch + x, vmax(load(pass + c * pitch + x) - largest, -ceiling));
  }
}

// Source row y of every pass and class; returns status bits.
unsigned load_row(const UncertaintyJob& job, int64_t y, float* dst, int64_t pitch) {
  const bool softmax = job.activation == Activation::softmax;
  const vf ceiling = ceiling_of(job);
  float taint = 0.0f, low = 0.0f, high = 0.0f;  // taint: x - x is 0 for every number, NaN for NaN and inf
  for (int64_t plane = 0; plane < planes_of(job); ++plane) {
    float* out = dst + plane * pitch;
    const int64_t t = plane / job.n_classes, c = plane % job.n_classes;
    convert_row(job, t * job.stride_t + c * job.stride_c + y * job.stride_h, out);
    for (int64_t x = job.in_w; x < pitch; ++x) out[x] = 0.0f;
    vf bad = vf{}, lo = vf{}, hi = vf{};
    for (int64_t x = 0; x < pitch; x += kLanes) {
      const vf v = load(out + x);
      bad += v - v;
      lo = vmin(lo, v);
      hi = vmax(hi, v);
      if (!softmax) store(out + x, vmin(vmax(v, -ceiling), ceiling));
    }
    taint += hsum(bad);
    low = -hmax(-lo) < low ? -hmax(-lo) : low;
    high = hmax(hi) > high ? hmax(hi) : high;
    if (softmax && c + 1 == job.n_classes)
      centre_classes(job.n_classes, pitch, ceiling, dst + t * job.n_classes * pitch);
  }
  unsigned status = taint == 0.0f ? 0u : kNotFinite;
  // Rounding in a half-precision softmax can leave [0, 1] by a thousandth.
  if (job.activation == Activation::probabilities && (low < -2e-3f || high > 1.002f)) status |= kOutOfRange;
  return status;
}

// Classes are added up in groups, and the groups to each other: hundreds of terms would lose digits one by one.
constexpr int64_t kClassGroup = 64;
inline int64_t group_end(int64_t c, int64_t classes) { return classes - c > kClassGroup ? c + kClassGroup : classes; }

// value = row0 + fy (row1 - row0) of every plane.
void blend_rows(const UncertaintyJob& job, const Scratch& s, float fy) {
  const int64_t n = planes_of(job) * s.pitch;
  const vf f = splat(fy);
  for (int64_t x = 0; x < n; x += kLanes) store(s.value + x, lerp(load(s.row0 + x), load(s.row1 + x), f));
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
inline vf sample(const float* value, const Columns& k, int b) {
  if (kNarrow) {
    const float* p = value + k.base[b];
    return lerp(permute(load(p), k.offset[b]), permute(load(p + 1), k.offset[b]), k.frac[b]);
  }
  vf left, right;
  for (int i = 0; i < kLanes; ++i) {
    const float* p = value + k.base[b] + k.offset[b][i];
    left[i] = p[0];
    right[i] = p[1];
  }
  return lerp(left, right, k.frac[b]);
}

// The measures of the pixels in flight.
struct Pixels {
  vf measure[kMeasures][kBlocks];
  vi label[kBlocks];
};

inline void store_labels(void* row, int bytes, int64_t x, vi label) {
  if (bytes == 1) {
    const vu8 v = __builtin_convertvector(label, vu8);
    std::memcpy(static_cast<uint8_t*>(row) + x, &v, sizeof v);
  } else {
    const vu16 v = __builtin_convertvector(label, vu16);
    std::memcpy(static_cast<uint16_t*>(row) + x, &v, sizeof v);
  }
}
