// Perplexity of activations and the weights that follow from it; one image at a time.

inline vf perplexity_of(const ReliabilityJob& job, vf m) {
  const vf away = (m - job.threshold) - job.threshold_rest;
  vf ratio = away >= 0.0f ? away * job.above : away * -job.below;
  ratio = vmin(vmax(ratio, splat(job.least_ratio)), splat(1.0f));
  const vf p = job.offset - log_positive(ratio);
  return job.beta == 1.0f ? p : exp2_of(log_positive(p) * (kLog2e * job.beta));
}

// out [n]: the perplexity, or its reciprocal; sums[0], sums[1]: the number of valid pixels, the sum of their
// reciprocals. Returns status bits.
unsigned reliability_terms(const ReliabilityJob& job, const float* map, const uint8_t* valid, int64_t n,
                           bool reciprocal, float* out, double* sums) {
  constexpr int64_t kBlock = 1024;  // whose sum is in single precision
  const vf low = splat(-kValueSlack), high = splat(1.0f + kValueSlack);
  vi good = splat_i(-1);
  sums[0] = sums[1] = 0.0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = begin + kBlock < n ? begin + kBlock : n;
    vf sum = vf{};
    int64_t count = 0;
    for (int64_t i = begin; i < end; i += kLanes) {
      const int64_t lanes = end - i < kLanes ? end - i : kLanes;
      float in[kLanes] = {}, counts[kLanes] = {}, result[kLanes];
      vf m;
      if (lanes == kLanes) {
        m = load(map + i);
      } else {
        std::memcpy(in, map + i, static_cast<size_t>(lanes) * sizeof(float));
        m = load(in);
      }
      good &= (m >= low) & (m <= high);
      const vf p = perplexity_of(job, m), inverse = 1.0f / p;
      if (valid || lanes < kLanes) {
        for (int64_t k = 0; k < lanes; ++k) {
          const bool counts_here = !valid || valid[i + k];
          counts[k] = counts_here ? 1.0f : 0.0f;
          count += counts_here;
        }
        sum += inverse * load(counts);
      } else {
        count += kLanes;
        sum += inverse;
      }
      const vf wanted = reciprocal ? inverse : p;
      if (lanes == kLanes) {
        store(out + i, wanted);
      } else {
        store(result, wanted);
        std::memcpy(out + i, result, static_cast<size_t>(lanes) * sizeof(float));
      }
    }
    sums[0] += static_cast<double>(count);
    sums[1] += hsum(sum);
  }
  return any(~good) ? kBadValue : 0;
}

// Values times `scale`; 0 where a pixel is not valid.
void scale_valid(float* values, const uint8_t* valid, int64_t n, float scale) {
  if (!valid) {
    for (int64_t i = 0; i < n; ++i) values[i] *= scale;
    return;
  }
  for (int64_t i = 0; i < n; ++i) values[i] = valid[i] ? values[i] * scale : 0.0f;
}
