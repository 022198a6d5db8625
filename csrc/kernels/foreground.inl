// Moments of a foreground probability over passes and pixels, upsampled on the fly.

void foreground_rows(const UncertaintyJob& job, int64_t y0, int64_t y1, ForegroundSums* sums, float* scratch) {
  Scratch s = carve(job, scratch);
  const bool sigmoid = job.activation == Activation::sigmoid, narrow = is_narrow(job);
  const float gain = sigmoid ? gain_of(job) : 1.0f;
  Loaded loaded;
  for (int64_t y = y0; y < y1; ++y) {
    load_rows(job, y, &s, &loaded, &sums->status);
    blend_rows(job, s, job.y_frac[y]);
    vf first = vf{}, square = vf{}, log_moment = vf{};
    for (int64_t x = 0; x < job.out_w; x += kStep) {
      const Columns k = columns_at(job, x);
      for (int b = 0; b < kBlocks && x + b * kLanes < job.out_w; ++b) {
        const int64_t left = job.out_w - x - b * kLanes;
        vi inside;
        for (int i = 0; i < kLanes; ++i) inside[i] = i < left ? -1 : 0;
        for (int64_t t = 0; t < job.n_passes; ++t) {
          const float* value = s.value + t * s.pitch;
          const vf z = (narrow ? sample<true>(value, k, b) : sample<false>(value, k, b)) * gain;
          vf p, p_log_p;
          if (sigmoid) {
            const Binary e = logistic(z);
            p = e.yes;
            // ln p = -ln(1 + e^-z), from the logit: a saturated p times its logarithm is 0, not NaN.
            const vf a = vabs(z), softplus = log_positive(1.0f + exp2_of(-a));
            p_log_p = -p * (softplus + (z < vf{} ? kLn2 * vmin(a, splat(200.0f)) : vf{}));
          } else {
            p = vmin(vmax(z, vf{}), splat(1.0f));
            p_log_p = x_log_x(p);
          }
          const vf d = inside ? p - 0.5f : vf{};
          first += d;
          square += d * d;
          log_moment += inside ? p_log_p : vf{};
        }
      }
    }
    sums->p += static_cast<double>(hsum(first));
    sums->p_squared += static_cast<double>(hsum(square));
    sums->p_log_p += static_cast<double>(hsum(log_moment));
  }
}
