// Counts and moments of the values of activation maps, in bins. Everything is in integers, so that the order of
// additions does not matter; only weighted sums are floating, chunk by chunk.

int64_t moments_scratch(const MomentsJob& job) {
  const int64_t counters = (int64_t{1} << job.bin_bits) * kMomentCopies * 2;
  return 3 * (kMomentBlock + 2 * kLanes) + counters * 2;
}

// The largest of the planes at pixels [p, p + n) of an image; whether all values are in range.
inline bool largest_of(const MomentsJob& job, int64_t image, int64_t p, int64_t n, float* out) {
  const float* const first = job.values + image * job.planes * job.pixels + p;
  const vf low = splat(-kValueSlack), high = splat(1.0f + kValueSlack);
  vi good = splat_i(-1);
  bool tail_good = true;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    vf most = load(first + i);
    good &= (most >= low) & (most <= high);
    for (int64_t k = 1; k < job.planes; ++k) {
      const vf v = load(first + k * job.pixels + i);
      good &= (v >= low) & (v <= high);
      most = vmax(most, v);
    }
    store(out + i, most);
  }
  for (; i < n; ++i) {
    float most = first[i];
    for (int64_t k = 0; k < job.planes; ++k) {
      const float v = first[k * job.pixels + i];
      tail_good = tail_good && v >= -kValueSlack && v <= 1.0f + kValueSlack;
      most = v > most ? v : most;
    }
    out[i] = most;
  }
  return tail_good && !any(~good);
}

inline vi fixed_point(vf v) {
  constexpr float kScale = 1 << kValueBits, kTop = 1.0f - 1.0f / kScale;
  return __builtin_convertvector(vmin(vmax(v, vf{}), splat(kTop)) * kScale, vi);
}

inline void add_values(const MomentsJob& job, const float* values, int64_t n, uint32_t* fixed, uint64_t* counters) {
  for (int64_t i = 0; i < n; i += kLanes) store_i(reinterpret_cast<int32_t*>(fixed) + i, fixed_point(load(values + i)));
  const int shift = kValueBits - job.bin_bits;
  const uint32_t mask = (uint32_t{1} << shift) - 1;
  const auto add = [&](uint32_t q, int copy) {
    const uint64_t offset = q & mask;
    uint64_t* const at = counters + ((q >> shift) * kMomentCopies + copy) * 2;
    at[0] += uint64_t{1} << 40 | offset;
    at[1] += offset * offset;
  };
  int64_t i = 0;
  for (; i + kMomentCopies <= n; i += kMomentCopies)
    for (int copy = 0; copy < kMomentCopies; ++copy) add(fixed[i + copy], copy);
  for (; i < n; ++i) add(fixed[i], 0);
}

// Positions [begin, end) of [images * pixels] of an unweighted job, added to sums [bins, 3]: how many values, the sum
// of their offsets from the lower end of the bin in 2^-24, and that of the squares. Returns status bits.
unsigned count_moments(const MomentsJob& job, int64_t begin, int64_t end, uint64_t* sums, float* scratch) {
  const int64_t bins = int64_t{1} << job.bin_bits;
  float* const largest = scratch;
  float* const kept = largest + kMomentBlock + 2 * kLanes;
  uint32_t* const fixed = reinterpret_cast<uint32_t*>(kept + kMomentBlock + 2 * kLanes);
  uint64_t* const counters = reinterpret_cast<uint64_t*>(fixed + kMomentBlock + 2 * kLanes);
  std::memset(counters, 0, static_cast<size_t>(bins) * kMomentCopies * 2 * sizeof(uint64_t));
  unsigned status = 0;
  for (int64_t at = begin; at < end;) {
    const int64_t image = at / job.pixels, p = at % job.pixels;
    int64_t n = job.pixels - p < end - at ? job.pixels - p : end - at;
    if (n > kMomentBlock) n = kMomentBlock;
    if (!largest_of(job, image, p, n, largest)) return kBadValue;
    const int64_t size = pack_values(largest, n, job.least, kept);
    std::memset(kept + size, 0, kLanes * sizeof(float));  // the rest of the last vector
    add_values(job, kept, size, fixed, counters);
    at += n;
  }
  for (int64_t b = 0; b < bins; ++b) {
    for (int copy = 0; copy < kMomentCopies; ++copy) {
      const uint64_t* const from = counters + (b * kMomentCopies + copy) * 2;
      sums[3 * b] += from[0] >> 40;
      sums[3 * b + 1] += from[0] & ((uint64_t{1} << 40) - 1);
      sums[3 * b + 2] += from[1];
    }
  }
  return status;
}

// The same of a weighted job, set to sums [bins, 3].
unsigned weigh_moments(const MomentsJob& job, int64_t begin, int64_t end, double* sums, float* scratch) {
  const int64_t bins = int64_t{1} << job.bin_bits;
  const int shift = kValueBits - job.bin_bits;
  float* const largest = scratch;
  int32_t* const fixed = reinterpret_cast<int32_t*>(largest + kMomentBlock + 2 * kLanes);
  std::memset(sums, 0, static_cast<size_t>(bins) * 3 * sizeof(double));
  for (int64_t at = begin; at < end;) {
    const int64_t image = at / job.pixels, p = at % job.pixels;
    int64_t n = job.pixels - p < end - at ? job.pixels - p : end - at;
    if (n > kMomentBlock) n = kMomentBlock;
    if (!largest_of(job, image, p, n, largest)) return kBadValue;
    std::memset(largest + n, 0, kLanes * sizeof(float));
    for (int64_t i = 0; i < n; i += kLanes) store_i(fixed + i, fixed_point(load(largest + i)));
    for (int64_t i = 0; i < n; ++i) {
      const double weight = job.weights[at + i];
      if (!(weight >= 0.0 && weight <= 1e30)) return kBadWeight;
      if (!(largest[i] >= job.least)) continue;
      const uint32_t q = static_cast<uint32_t>(fixed[i]);
      const double offset = q & ((uint32_t{1} << shift) - 1);
      double* const to = sums + 3 * (q >> shift);
      to[0] += weight;
      to[1] += weight * offset;
      to[2] += weight * offset * offset;
    }
    at += n;
  }
  return 0;
}
