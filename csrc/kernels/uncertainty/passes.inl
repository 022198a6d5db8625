// Measures of T passes: running sums over passes, one class after another; never T maps.

// Sums over the passes of one class of one block of pixels. Variances and means are taken around the first pass,
// because E[p^2] - E[p]^2 would lose every digit of a small variance.
struct ClassPasses {
  vf first, shifted, square;  // p of the first pass; sums of (p - first) and its square

  void begin(vf p) {
    first = p;
    shifted = square = vf{};
  }
  void add(vf p) {
    const vf d = p - first;
    shifted += d;
    square += d * d;
  }
  vf mean(float share) const { return vmax(first + shifted * share, vf{}); }
  vf variance(float share) const {
    const vf off = shifted * share;
    return vmax(square * share - off * off, vf{});
  }
};

// 1 - (passes that chose the most frequent class) / T.
inline vf variation_ratio(const int32_t* votes, int64_t passes, int64_t stride) {
  vi most = vi{};
  for (int64_t t = 0; t < passes; ++t) {
    const vi own = load_i(votes + t * stride);
    vi count = vi{};
    for (int64_t u = 0; u < passes; ++u) count -= load_i(votes + u * stride) == own;
    most = count > most ? count : most;
  }
  return 1.0f - to_float(most) / static_cast<float>(passes);
}

// One softmax pass: leaves 2^(z - max) of every class in `row`, its inverse sum in `inverse`, its arg-max in
// `vote`, and adds its entropy (nats).
template <bool kNarrow, bool kVote>
inline void softmax_pass(const float* value, int64_t classes, int64_t pitch, float gain, const Columns& k,
                         float* row, float* inverse, int32_t* vote, vf* expected) {
  vf largest[kBlocks];
  vi arg[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    largest[b] = splat(-3.0e38f);
    arg[b] = vi{};
  }
  for (int64_t c = 0; c < classes; ++c, value += pitch) {
    for (int b = 0; b < kBlocks; ++b) {
      const vf z = sample<kNarrow>(value, k, b);
      store(row + c * kStep + b * kLanes, z);
      if (kVote) arg[b] = z > largest[b] ? splat_i(static_cast<int32_t>(c)) : arg[b];
      largest[b] = vmax(largest[b], z);
    }
  }
  vf total[kBlocks], moment[kBlocks];
  for (int b = 0; b < kBlocks; ++b) total[b] = moment[b] = vf{};
  for (int64_t c = 0; c < classes;) {
    vf sum[kBlocks], weighted[kBlocks];
    for (int b = 0; b < kBlocks; ++b) sum[b] = weighted[b] = vf{};
    for (const int64_t end = group_end(c, classes); c < end; ++c) {
      for (int b = 0; b < kBlocks; ++b) {
        const vf t = (load(row + c * kStep + b * kLanes) - largest[b]) * gain;
        const vf e = exp2_of(t);
        store(row + c * kStep + b * kLanes, e);
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
    const vf share = 1.0f / total[b];
    store(inverse + b * kLanes, share);
    expected[b] += log_positive(total[b]) - kLn2 * moment[b] * share;
    if (kVote) store_i(vote + b * kLanes, arg[b]);
  }
}

// One pass of scores that already are probabilities: clipped at 0; a pixel where all are 0 is uniform.
template <bool kNarrow, bool kVote>
inline void probabilities_pass(const float* value, int64_t classes, int64_t pitch,
                               const Columns& k, float* row, float* inverse, float* extra, int32_t* vote,
                               vf* expected) {
  vf largest[kBlocks], total[kBlocks], moment[kBlocks];
  vi arg[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    largest[b] = splat(-1.0f);
    total[b] = moment[b] = vf{};
    arg[b] = vi{};
  }
  for (int64_t c = 0; c < classes; ++c, value += pitch) {
    for (int b = 0; b < kBlocks; ++b) {
      const vf p = vmax(sample<kNarrow>(value, k, b), vf{});
      store(row + c * kStep + b * kLanes, p);
      if (kVote) arg[b] = p > largest[b] ? splat_i(static_cast<int32_t>(c)) : arg[b];
      largest[b] = vmax(largest[b], p);
      total[b] += p;
      moment[b] += x_log_x(p);
    }
  }
  const float n = static_cast<float>(classes);
  for (int b = 0; b < kBlocks; ++b) {
    const vi known = total[b] > splat(1.2e-38f);
    const vf sum = known ? total[b] : splat(1.0f);
    const vf share = 1.0f / sum;
    store(inverse + b * kLanes, known ? share : vf{});
    store(extra + b * kLanes, known ? vf{} : splat(1.0f / n));
    expected[b] += known ? log_positive(sum) - moment[b] * share : log_positive(splat(n));
    if (kVote) store_i(vote + b * kLanes, arg[b]);
  }
}

// The passes' probabilities z * inverse (+ extra), class by class, to the measures of their mean.
template <bool kExtra>
inline void combine_passes(const UncertaintyJob& job, const Scratch& s, const vf* expected, Pixels* out) {
  const int64_t classes = job.n_classes, passes = job.n_passes, plane = classes * kStep;
  const float share = 1.0f / static_cast<float>(passes);
  vf entropy[kBlocks], variance[kBlocks], first[kBlocks], second[kBlocks];
  vi arg[kBlocks];
  for (int b = 0; b < kBlocks; ++b) {
    entropy[b] = variance[b] = vf{};
    first[b] = second[b] = splat(-1.0f);
    arg[b] = vi{};
  }
  for (int64_t c = 0; c < classes;) {
    vf information[kBlocks], spread[kBlocks];
    for (int b = 0; b < kBlocks; ++b) information[b] = spread[b] = vf{};
    for (const int64_t end = group_end(c, classes); c < end; ++c) {
      for (int b = 0; b < kBlocks; ++b) {
        const float* z = s.z + c * kStep + b * kLanes;
        const float *inverse = s.inverse + b * kLanes, *extra = s.extra + b * kLanes;
        ClassPasses p;
        p.begin(load(z) * load(inverse) + (kExtra ? load(extra) : vf{}));
        for (int64_t t = 1; t < passes; ++t) {
          z += plane;
          inverse += kStep;
          extra += kStep;
          p.add(load(z) * load(inverse) + (kExtra ? load(extra) : vf{}));
        }
        const vf mean = p.mean(share);
        information[b] -= x_log_x(mean);
        spread[b] += p.variance(share);
        arg[b] = mean > first[b] ? splat_i(static_cast<int32_t>(c)) : arg[b];
        second[b] = vmax(second[b], vmin(mean, first[b]));
        first[b] = vmax(first[b], mean);
      }
    }
    for (int b = 0; b < kBlocks; ++b) {
      entropy[b] += information[b];
      variance[b] += spread[b];
    }
  }
  for (int b = 0; b < kBlocks; ++b) {
    const vf predictive = vmax(entropy[b], vf{}), mean_entropy = vmax(expected[b] * share, vf{});
    out->measure[mEntropy][b] = predictive;
    out->measure[mMargin][b] = vmax(1.0f - (first[b] - second[b]), vf{});
    out->measure[mLeastConfidence][b] = vmax(1.0f - first[b], vf{});
    out->measure[mExpectedEntropy][b] = mean_entropy;
    out->measure[mMutualInformation][b] = vmax(predictive - mean_entropy, vf{});
    out->measure[mVariance][b] = variance[b] / static_cast<float>(classes);
    out->label[b] = arg[b];
  }
}

template <bool kNarrow, bool kVote>
inline void categorical_passes(const UncertaintyJob& job, const Scratch& s, const Columns& k, Pixels* out) {
  const int64_t classes = job.n_classes, plane = classes * kStep;
  const bool softmax = job.activation == Activation::softmax;
  vf expected[kBlocks];
  for (int b = 0; b < kBlocks; ++b) expected[b] = vf{};
  for (int64_t t = 0; t < job.n_passes; ++t) {
    const float* value = s.value + t * classes * s.pitch;
    float *row = s.z + t * plane, *inverse = s.inverse + t * kStep;
    int32_t* const vote = s.votes + t * kStep;
    if (softmax) {
      softmax_pass<kNarrow, kVote>(value, classes, s.pitch, gain_of(job), k, row, inverse, vote, expected);
    } else {
      probabilities_pass<kNarrow, kVote>(value, classes, s.pitch, k, row, inverse, s.extra + t * kStep, vote,
                                         expected);
    }
  }
  if (softmax) combine_passes<false>(job, s, expected, out);
  else combine_passes<true>(job, s, expected, out);
  if (!kVote) return;
  for (int b = 0; b < kBlocks; ++b)
    out->measure[mVariationRatio][b] = variation_ratio(s.votes + b * kLanes, job.n_passes, kStep);
}

// Independent binary events, sigmoid channels or one channel of probabilities: the mean over channels of each
// channel's measures.
template <bool kNarrow>
inline void binary_passes(const UncertaintyJob& job, const Scratch& s, const Columns& k, Pixels* out) {
  const int64_t classes = job.n_classes, passes = job.n_passes, plane = classes * s.pitch;
  const bool sigmoid = job.activation == Activation::sigmoid;
  const float share = 1.0f / static_cast<float>(passes), scale = 1.0f / static_cast<float>(classes);
  const vf half = splat(0.5f);
  const float gain = sigmoid ? gain_of(job) : 1.0f;
  for (int b = 0; b < kBlocks; ++b) {
    vf entropy = vf{}, doubt = vf{}, expected = vf{}, information = vf{}, variance = vf{}, ratio = vf{};
    vf best = splat(-1.0f);
    vi arg = vi{};
    for (int64_t c = 0; c < classes; ++c) {
      const float* value = s.value + c * s.pitch;
      ClassPasses p;
      vf no = vf{}, own = vf{};
      vi votes = vi{};
      for (int64_t t = 0; t < passes; ++t, value += plane) {
        const vf z = sample<kNarrow>(value, k, b) * gain;
        const Binary e = sigmoid ? logistic(z) : event(z);
        if (t == 0) p.begin(e.yes);
        else p.add(e.yes);
        no += e.no;
        own += e.entropy;
        votes -= sigmoid ? z > vf{} : e.yes > half;
      }
      const vf yes = p.mean(share), not_yes = no * share, mean_entropy = own * share;
      const vf predictive = vmax(-x_log_x(yes) - x_log_x(not_yes), vf{});
      const vf ayes = to_float(votes) * share;
      entropy += predictive;
      doubt += vmin(yes, not_yes);
      expected += mean_entropy;
      information += vmax(predictive - mean_entropy, vf{});
      variance += p.variance(share);
      ratio += vmin(ayes, 1.0f - ayes);
      arg = yes > best ? splat_i(static_cast<int32_t>(c)) : arg;
      best = vmax(best, yes);
    }
    out->measure[mEntropy][b] = entropy * scale;
    out->measure[mMargin][b] = 2.0f * doubt * scale;
    out->measure[mLeastConfidence][b] = doubt * scale;
    out->measure[mExpectedEntropy][b] = expected * scale;
    out->measure[mMutualInformation][b] = information * scale;
    out->measure[mVariance][b] = variance * scale;
    out->measure[mVariationRatio][b] = ratio * scale;
    out->label[b] = classes > 1 ? arg : (best >= half ? splat_i(1) : splat_i(0));
  }
}

template <bool kNarrow>
inline void passes_block(const UncertaintyJob& job, const Scratch& s, const Columns& k, Pixels* out) {
  if (job.activation == Activation::sigmoid || job.n_classes == 1) binary_passes<kNarrow>(job, s, k, out);
  else if (job.measures & bit_of(mVariationRatio)) categorical_passes<kNarrow, true>(job, s, k, out);
  else categorical_passes<kNarrow, false>(job, s, k, out);
}
