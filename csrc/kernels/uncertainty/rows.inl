// Upsampling fused with softmax | sigmoid | probabilities and the uncertainty measures, one row at a time.
//
// The source rows around an output row, of every pass and class, are blended once into a value row and a
// difference row, which stay in the cache. Then a few blocks of pixels at a time are interpolated along x, turned
// into probabilities and reduced to measures (one_pass.inl, passes.inl). Nothing of size C x H x W exists at any
// time, nor anything of size T x H x W.

constexpr int kStep = kLanes * kBlocks;  // pixels in flight

struct Scratch {
  float *row0, *row1;      // [T C, pitch] converted source rows y and y + 1
  float *value, *diff;     // [T C, pitch] blended row, and value[x + 1] - value[x]
  float* z;                // [T C, kStep] interpolated logits, later numerators, of the pixels in flight
  float *inverse, *extra;  // [T, kStep] a pass's probability is z * inverse + extra
  int32_t* votes;          // [T, kStep] arg-max of each pass
  float* measure[kMeasures];  // [W + kStep] rows of measures that have no map
  int32_t* label_ids;      // [W + kStep] labels as keys of runs, -1 where a pixel is not valid
  void* labels;            // [W + kStep] label row where there is no label map
  int64_t pitch;
};

inline int64_t planes_of(const UncertaintyJob& job) { return job.n_passes * job.n_classes; }

inline int64_t pitch_of(const UncertaintyJob& job) {
  return (job.in_w + 2 * kLanes - 1) / kLanes * kLanes;  // a full vector may be read from the last column
}

int64_t uncertainty_scratch(const UncertaintyJob& job) {
  return planes_of(job) * (4 * pitch_of(job) + kStep) + 3 * job.n_passes * kStep +
         (kMeasures + 2) * (job.out_w + kStep);
}

inline Scratch carve(const UncertaintyJob& job, float* p) {
  Scratch s;
  s.pitch = pitch_of(job);
  const auto take = [&p](int64_t floats) {
    float* const block = p;
    p += floats;
    return block;
  };
  const int64_t plane = planes_of(job) * s.pitch, pixels = job.n_passes * kStep, row = job.out_w + kStep;
  s.row0 = take(plane);
  s.row1 = take(plane);
  s.value = take(plane);
  s.diff = take(plane);
  s.z = take(planes_of(job) * kStep);
  s.inverse = take(pixels);
  s.extra = take(pixels);
  s.votes = reinterpret_cast<int32_t*>(take(pixels));
  for (int m = 0; m < kMeasures; ++m) s.measure[m] = take(row);
  s.label_ids = reinterpret_cast<int32_t*>(take(row));
  s.labels = take(row);
  return s;
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

// Source row y of every pass and class times `gain`; returns status bits.
unsigned load_row(const UncertaintyJob& job, int64_t y, float gain, float* dst, int64_t pitch) {
  const vf ceiling = splat(1e37f);  // times a gain a finite logit may leave the range of float
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
      store(out + x, vmin(vmax(v * gain, -ceiling), ceiling));
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

// value = row0 + fy (row1 - row0) and its forward difference, for every plane.
void blend_rows(const UncertaintyJob& job, const Scratch& s, float fy) {
  for (int64_t plane = 0; plane < planes_of(job); ++plane) {
    const float* a = s.row0 + plane * s.pitch;
    const float* b = s.row1 + plane * s.pitch;
    float* v = s.value + plane * s.pitch;
    float* d = s.diff + plane * s.pitch;
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
