// Measures of a single pass.

inline vf x_log_x(vf x) { return x * log_positive(vmax(x, splat(1.2e-38f))); }

// The two probabilities of one binary event, each computed without cancellation, and its entropy (nats).
struct Binary {
  vf yes, no, entropy;
};

// z: logit times log2 e.
inline Binary logistic(vf z) {
  const vf a = vabs(z);
  const vf q = exp2_of(-a);
  const vf high = 1.0f / (1.0f + q), low = q * high;
  const vi positive = z >= vf{};
  // a is capped so that inf * 0 cannot arise; beyond it the product is 0 in float anyway.
  return {positive ? high : low, positive ? low : high,
          log_positive(1.0f + q) + low * (kLn2 * vmin(a, splat(200.0f)))};
}

inline Binary event(vf p) {
  const vf yes = vmin(vmax(p, vf{}), splat(1.0f)), no = 1.0f - yes;
  return {yes, no, vmax(-x_log_x(yes) - x_log_x(no), vf{})};
}

// Softmax. With t = (z - max) log2 e, 2^t is the usual e^(z - max): entropy = ln S - ln 2 (sum t 2^t) / S,
// p1 = 1 / S, p2 = 2^(t of the second) / S.
template <bool kNarrow, bool kTop2, bool kArg>
inline void softmax_block(const UncertaintyJob& job, const Scratch& s, const Columns& k, Pixels* out) {
  // Copies on the stack: a store through a float pointer could change anything else, for all the compiler knows.
  const int64_t classes = job.n_classes, pitch = s.pitch;
  const float* value = s.value;
  float* const row = s.z;
  vf first[kBlocks], second[kBlocks];
  vi arg[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    const vf z = sample<kNarrow>(value, k, b);
    store(row + b * kLanes, z);
    first[b] = z;
    second[b] = splat(-3.0e38f);
    arg[b] = vi{};
  }
  for (int64_t c = 1; c < classes; ++c) {
    value += pitch;
    for (int b = 0; b < kBlocks; ++b) {
      const vf z = sample<kNarrow>(value, k, b);
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
  const float gain = gain_of(job);
  for (int64_t c = 0; c < classes;) {
    vf sum[kBlocks], weighted[kBlocks];
    for (int b = 0; b < kBlocks; ++b) sum[b] = weighted[b] = vf{};
    for (const int64_t end = group_end(c, classes); c < end; ++c) {
      for (int b = 0; b < kBlocks; ++b) {
        const vf t = (load(row + c * kStep + b * kLanes) - first[b]) * gain;
        const vf e = exp2_of(t);
        sum[b] += e;
        weighted[b] += t * e;
      }
    }
    for (int b = 0; b < kBlocks; ++b) {
      total[b] += sum[b];
      moment[b] += weighted[b];
    }
  }
  for (int b = 0; b < kBlocks; ++b) {
    const vf inverse = 1.0f / total[b];
    out->measure[0][b] = vmax(log_positive(total[b]) - kLn2 * moment[b] * inverse, vf{});
    if (kTop2) out->measure[1][b] = vmax(1.0f - inverse * (1.0f - exp2_of((second[b] - first[b]) * gain)), vf{});
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
  const float gain = gain_of(job);
  for (int64_t c = 0; c < job.n_classes; ++c) {
    for (int b = 0; b < kBlocks; ++b) {
      const vf z = sample<kNarrow>(s.value + c * s.pitch, k, b);
      arg[b] = z > first[b] ? splat_i(static_cast<int32_t>(c)) : arg[b];
      first[b] = vmax(first[b], z);
      const Binary e = logistic(z * gain);
      entropy[b] += e.entropy;
      doubt[b] += vmin(e.yes, e.no);
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
      const vf p = vmin(vmax(sample<kNarrow>(s.value, k, b), vf{}), one);
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
      const vf p = vmax(sample<kNarrow>(s.value + c * s.pitch, k, b), vf{});
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

