// Entropy of the class shares in a window around every pixel, by separable box sums: the labels of a column's part
// of the window are counted by adding the row that enters and taking away the one that leaves; a prefix sum along
// the row then gives the window. The cost does not depend on the size of the window.

struct ImpurityScratch {
  int32_t* count;    // [C + 1, pitch] pixels of each class, and all that are valid, in each column
  int64_t* total;    // [C] pixels of each class in all columns
  int32_t* prefix;   // [W + 2 radius + 1 + kLanes] sums of columns, repeated at both ends
  double* entropy;   // [W] sums of columns
  double* entropy_prefix;
  float* moment;     // [W + kLanes] sum over classes of n ln n
  int64_t pitch;
};

inline int64_t prefix_length(const ImpurityJob& job) { return job.width + 2 * job.radius_x + 2 + kLanes; }

inline ImpurityScratch carve(const ImpurityJob& job, float* p) {
  ImpurityScratch s;
  // Doubles first: the block is aligned for them.
  s.entropy = reinterpret_cast<double*>(p);
  s.entropy_prefix = s.entropy + job.width;
  s.total = reinterpret_cast<int64_t*>(s.entropy_prefix + prefix_length(job));
  s.pitch = job.width;
  s.count = reinterpret_cast<int32_t*>(s.total + job.n_classes);
  s.prefix = s.count + (job.n_classes + 1) * s.pitch;
  s.moment = reinterpret_cast<float*>(s.prefix + prefix_length(job));
  return s;
}

int64_t impurity_scratch(const ImpurityJob& job) {
  return 2 * (job.width + prefix_length(job) + job.n_classes) + (job.n_classes + 1) * job.width +
         prefix_length(job) + job.width + kLanes;
}

// Adds (sign 1) or takes away (sign -1) one row of labels and entropies.
template <typename Label>
inline unsigned slide_row(const ImpurityJob& job, const ImpurityScratch& s, int64_t y, int32_t sign) {
  const Label* labels = static_cast<const Label*>(job.labels) + y * job.width;
  const uint8_t* valid = job.valid ? job.valid + y * job.width : nullptr;
  const float* entropy = job.entropy ? job.entropy + y * job.width : nullptr;
  int32_t* const all = s.count + job.n_classes * s.pitch;
  unsigned status = 0;
  for (int64_t x = 0; x < job.width; ++x) {
    if (valid && !valid[x]) continue;
    const int64_t label = labels[x];
    if (label >= job.n_classes) {
      status |= kOutOfRange;
      continue;
    }
    s.count[label * s.pitch + x] += sign;
    s.total[label] += sign;
    all[x] += sign;
    if (!entropy) continue;
    if (!(entropy[x] - entropy[x] == 0.0f)) {
      status |= kNotFinite;
      continue;
    }
    s.entropy[x] += sign * static_cast<double>(entropy[x]);
  }
  return status;
}

// prefix[x + 2 radius + 1] - prefix[x] is the sum of columns x - radius ... x + radius, cut at the borders.
template <typename Sum>
inline void prefix_sum(const Sum* columns, int64_t width, int64_t radius, Sum* prefix) {
  Sum sum = 0;
  int64_t i = 0;
  for (; i <= radius; ++i) prefix[i] = 0;
  for (int64_t x = 0; x < width; ++x, ++i) prefix[i] = sum += columns[x];
  for (const int64_t end = width + 2 * radius + 1; i < end; ++i) prefix[i] = sum;
}

inline void impurity_row(const ImpurityJob& job, const ImpurityScratch& s, int64_t y) {
  const int64_t width = job.width, window = 2 * job.radius_x + 1;
  float* const out = job.out + y * width;
  for (int64_t x = 0; x < width + kLanes; x += kLanes) store(s.moment + (x < width ? x : width), vf{});
  for (int64_t c = 0; c < job.n_classes; ++c) {
    if (s.total[c] == 0) continue;
    prefix_sum(s.count + c * s.pitch, width, job.radius_x, s.prefix);
    for (int64_t x = 0; x < width; x += kLanes) {
      const vi n = load_i(s.prefix + x + window) - load_i(s.prefix + x);
      if (!any(n)) continue;
      const vf count = to_float(n);
      store(s.moment + x, load(s.moment + x) + count * log_positive(vmax(count, splat(1.0f))));
    }
  }
  prefix_sum(s.count + job.n_classes * s.pitch, width, job.radius_x, s.prefix);
  for (int64_t x = 0; x < width; x += kLanes) {
    const vf area = vmax(to_float(load_i(s.prefix + x + window) - load_i(s.prefix + x)), splat(1.0f));
    store(s.moment + x, vmax(log_positive(area) - load(s.moment + x) / area, vf{}));
  }
  if (job.entropy) {
    prefix_sum(s.entropy, width, job.radius_x, s.entropy_prefix);
    for (int64_t x = 0; x < width; ++x) {
      const int32_t area = s.prefix[x + window] - s.prefix[x];
      const double sum = s.entropy_prefix[x + window] - s.entropy_prefix[x];
      s.moment[x] *= area > 0 && sum > 0.0 ? static_cast<float>(sum / area) : 0.0f;
    }
  }
  const uint8_t* valid = job.valid ? job.valid + y * width : nullptr;
  for (int64_t x = 0; x < width; ++x) out[x] = !valid || valid[x] ? s.moment[x] : 0.0f;
}

template <typename Label>
unsigned impurity_rows_of(const ImpurityJob& job, int64_t y0, int64_t y1, float* scratch) {
  const ImpurityScratch s = carve(job, scratch);
  std::memset(scratch, 0, static_cast<size_t>(impurity_scratch(job)) * sizeof(float));
  const int64_t r = job.radius_y;
  unsigned status = 0;
  for (int64_t y = y0 > r ? y0 - r : 0; y < y0 + r && y < job.height; ++y) status |= slide_row<Label>(job, s, y, 1);
  for (int64_t y = y0; y < y1; ++y) {
    if (y + r < job.height) status |= slide_row<Label>(job, s, y + r, 1);
    impurity_row(job, s, y);
    if (y - r >= 0) status |= slide_row<Label>(job, s, y - r, -1);
  }
  return status;
}

unsigned impurity_rows(const ImpurityJob& job, int64_t y0, int64_t y1, float* scratch) {
  return job.label_bytes == 1 ? impurity_rows_of<uint8_t>(job, y0, y1, scratch)
                              : impurity_rows_of<uint16_t>(job, y0, y1, scratch);
}
