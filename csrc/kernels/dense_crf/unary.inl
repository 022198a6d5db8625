// The unary term of a block of pixels, from probabilities, scores or labels.

// The first n of kCrfBlock values; the others are `rest`.
template <typename T>
inline void load_some(const T* from, int n, T rest, T* to) {
  if (n == kCrfBlock) {
    std::memcpy(to, from, kCrfBlock * sizeof(T));
    return;
  }
  int i = 0;
  for (; i < n; ++i) to[i] = from[i];
  for (; i < kCrfBlock; ++i) to[i] = rest;
}

// What a block needs of its pixels.
struct CrfPixels {
  int64_t at;         // y W + x of the first
  int n;              // up to kCrfBlock
  float* planes;      // [pitch, kCrfBlock]
};

// The unary of a block as probabilities of at least `clip`, into `planes`; status bits.
inline unsigned read_unary(const CrfSweep& job, const CrfPixels& block) {
  const int64_t plane = job.view.height * job.view.width;
  const int64_t classes = job.n_classes;
  float* const p = block.planes;
  float confidence[kCrfBlock];
  for (int i = 0; i < kCrfBlock; ++i) confidence[i] = job.common_confidence;
  if (job.confidence) load_some(job.confidence + block.at, block.n, 1.0f, confidence);
  unsigned status = 0;
  if (job.unary == CrfUnary::labels) {
    int32_t label[kCrfBlock];
    load_some(static_cast<const int32_t*>(job.source) + block.at, block.n, 0, label);
    for (int i = 0; i < kCrfBlock; ++i) {
      const bool silent = label[i] == job.unsure;
      if (!silent && (label[i] < 0 || label[i] >= classes)) status |= kCrfBadLabel;
      const float rest = classes > 1 ? (1.0f - confidence[i]) / static_cast<float>(classes - 1) : 1.0f;
      for (int64_t c = 0; c < classes; ++c) {
        p[c * kCrfBlock + i] = silent ? 1.0f / static_cast<float>(classes) : c == label[i] ? confidence[i] : rest;
      }
    }
  } else {
    const float* const source = static_cast<const float*>(job.source) + block.at;
    const bool logits = job.unary == CrfUnary::logits;
    for (int64_t c = 0; c < classes; ++c) {
      load_some(source + c * plane, block.n, logits ? 0.0f : 1.0f / static_cast<float>(classes), p + c * kCrfBlock);
    }
    for (int at = 0; at < kCrfBlock; at += kLanes) {
      vf largest = splat(-3e38f), sum = vf{}, check = vf{};
      vi negative = vi{};
      for (int64_t c = 0; c < classes; ++c) {
        const vf value = load(p + c * kCrfBlock + at);
        largest = vmax(largest, value);
        check = check + value * 0.0f;  // NaN where a value is not finite
        sum = sum + value;
        negative |= value < vf{};
      }
      const vi infinite = check != check;
      if (any(infinite)) {
        status |= kCrfNotFinite;
        continue;
      }
      if (logits) {
        sum = vf{};
        for (int64_t c = 0; c < classes; ++c) {
          const vf e = exp2_of((load(p + c * kCrfBlock + at) - largest) * kLog2e);
          store(p + c * kCrfBlock + at, e);
          sum = sum + e;
        }
      } else {
        if (any(negative)) status |= kCrfNegative;
        const vi wrong = vabs(sum - 1.0f) > job.tolerance;
        if (any(wrong)) status |= kCrfNotNormalised;
      }
      const vf trust = load(confidence + at);
      const vf scale = logits ? trust / sum : trust, rest = (1.0f - trust) / static_cast<float>(classes);
      for (int64_t c = 0; c < classes; ++c) {
        store(p + c * kCrfBlock + at, load(p + c * kCrfBlock + at) * scale + rest);
      }
    }
  }
  for (int at = 0; at < kCrfBlock; at += kLanes) {
    vf sum = vf{};
    for (int64_t c = 0; c < classes; ++c) {
      const vf value = vmax(load(p + c * kCrfBlock + at), splat(job.clip));
      store(p + c * kCrfBlock + at, value);
      sum = sum + value;
    }
    const vf scale = 1.0f / sum;
    for (int64_t c = 0; c < classes; ++c) store(p + c * kCrfBlock + at, load(p + c * kCrfBlock + at) * scale);
  }
  return status;
}
