// Class scores at the model's own resolution -> probabilities with the classes of a pixel side by side, the mean over
// passes.

constexpr float kLeastIndependent = 1e-30f;  // of a sigmoid, so that a sum of them can be divided by

int64_t class_probs_scratch(const ClassProbsJob& job) { return (job.n_classes + job.n_labels) * kLanes; }

// Numerators of one pass from scores z [C, kLanes], in place -> what to multiply them by.
inline vf numerators(const ClassProbsJob& job, float* z) {
  vf sum = vf{};
  if (job.activation == Activation::softmax) {
    vf top = load(z);
    for (int64_t c = 1; c < job.n_classes; ++c) top = vmax(top, load(z + c * kLanes));
    for (int64_t c = 0; c < job.n_classes; ++c) {
      const vf e = exp2_of((load(z + c * kLanes) - top) * kLog2e);
      store(z + c * kLanes, e);
      sum += e;
    }
    return splat(1.0f) / sum;
  }
  for (int64_t c = 0; c < job.n_classes; ++c) {
    vf p = load(z + c * kLanes);
    if (job.activation == Activation::sigmoid) {
      const vf q = exp2_of(-vabs(p) * kLog2e);
      const vf one_of_two = splat(1.0f) / (1.0f + q);
      p = vmax(p >= 0.0f ? one_of_two : q * one_of_two, splat(kLeastIndependent));
    } else {
      p = vmax(p, vf{});
      if (job.n_classes == 1) p = vmin(p, splat(1.0f));
    }
    store(z + c * kLanes, p);
    sum += p;
  }
  if (job.n_classes == 1) return splat(1.0f);
  // Where no class has any probability, all have the same.
  const vi none = sum <= 0.0f;
  if (any(none)) {
    for (int64_t c = 0; c < job.n_classes; ++c)
      store(z + c * kLanes, none ? splat(1.0f) : load(z + c * kLanes));
    sum = none ? splat(static_cast<float>(job.n_classes)) : sum;
  }
  return splat(1.0f) / sum;
}

// Pixels p0..p1 - 1 of the flat image; returns status bits.
unsigned class_probs(const ClassProbsJob& job, int64_t p0, int64_t p1, float* scratch) {
  float* const z = scratch;                              // [C, kLanes]
  float* const mean = scratch + job.n_classes * kLanes;  // [L, kLanes]
  const float share = 1.0f / static_cast<float>(job.n_passes);
  vi infinite = vi{}, outside = vi{};
  for (int64_t p = p0; p < p1; p += kLanes) {
    const int64_t n = p1 - p < kLanes ? p1 - p : kLanes;
    std::memset(mean, 0, static_cast<size_t>(job.n_labels * kLanes) * sizeof(float));
    for (int64_t t = 0; t < job.n_passes; ++t) {
      const float* const scores = job.scores + t * job.n_classes * job.pixels + p;
      for (int64_t c = 0; c < job.n_classes; ++c) {
        vf v = vf{};
        if (n == kLanes) v = load(scores + c * job.pixels);
        else std::memcpy(&v, scores + c * job.pixels, static_cast<size_t>(n) * sizeof(float));
        infinite |= ((vi)v & 0x7f800000) == 0x7f800000;
        outside |= (v < -2e-3f) | (v > 1.002f);
        store(z + c * kLanes, v);
      }
      const vf scale = numerators(job, z) * share;
      // A single channel is label 1 of two.
      const int64_t first = job.n_labels - job.n_classes;
      for (int64_t c = 0; c < job.n_classes; ++c) {
        float* const to = mean + (first + c) * kLanes;
        store(to, load(to) + load(z + c * kLanes) * scale);
      }
    }
    if (job.n_labels != job.n_classes) store(mean, 1.0f - load(mean + kLanes));
    float* to = job.probs + p * job.n_labels;
    for (int64_t i = 0; i < n; ++i)
      for (int64_t l = 0; l < job.n_labels; ++l) *to++ = mean[l * kLanes + i];
  }
  unsigned status = any(infinite) ? kNotFinite : 0u;
  if (job.activation == Activation::probabilities && any(outside)) status |= kOutOfRange;
  return status;
}
