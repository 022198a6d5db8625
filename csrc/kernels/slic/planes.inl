// An image as three planes of bytes (CIELAB by tables and integers, or the channels as they are), and running sums
// along the sampled rows, from which the sums of a run of pixels are one subtraction.

constexpr int kWords = 2 * kLanes;  // 16-bit lanes of a vector
typedef uint8_t vb __attribute__((vector_size(2 * kLanes)));

inline vw load_w(const int16_t* p) {
  vw v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_w(int16_t* p, vw v) { std::memcpy(p, &v, sizeof v); }
inline vw splat_w(int16_t x) { return x - vw{}; }
inline vw load_bytes(const uint8_t* p) {
  vb v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, vw);
}
constexpr int kSlicFieldBits = 20;  // of one channel in a running sum; a run of 4112 pixels does not overflow it

// One row as planes. The tables are handed over one by one: the bytes that are written might be anything else's.
template <int kChannels>
inline void lab_row(const uint8_t* __restrict in, int64_t width, const uint64_t* __restrict to_xyz,
                    const SlicRoot* __restrict roots, uint8_t* __restrict l, uint8_t* __restrict a,
                    uint8_t* __restrict b) {
  constexpr int kGreen = kChannels == 3 ? 1 : 0, kBlue = kChannels == 3 ? 2 : 0;
  for (int64_t i = 0; i < width; ++i, in += kChannels) {
    const uint64_t sum = to_xyz[in[0]] + to_xyz[256 + in[kGreen]] + to_xyz[512 + in[kBlue]];
    const SlicRoot &x = roots[sum >> 8 & 8191], &y = roots[sum >> 29 & 8191], &z = roots[sum >> 50];
    l[i] = static_cast<uint8_t>(y.lightness);
    a[i] = static_cast<uint8_t>((x.of_a - y.of_a + (128 << 6) + 32) >> 6);
    b[i] = static_cast<uint8_t>((y.of_b - z.of_b + (128 << 7) + 64) >> 7);
  }
}

inline void plane_row(const SlicJob& job, const uint8_t* in, uint8_t* out) {
  uint8_t *const a = out + job.pitch, *const b = a + job.pitch;
  if (job.to_xyz) {
    if (job.channels == 3) return lab_row<3>(in, job.width, job.to_xyz, job.roots, out, a, b);
    return lab_row<1>(in, job.width, job.to_xyz, job.roots, out, a, b);
  }
  const int64_t step = job.channels, green = step == 3 ? 1 : 0, blue = step == 3 ? 2 : 0;
  for (int64_t x = 0; x < job.width; ++x) {
    out[x] = in[x * step];
    a[x] = in[x * step + green];
    b[x] = in[x * step + blue];
  }
}

inline int64_t planes_scratch(const SlicJob& job) {  // in bytes
  return 9 * job.pitch + (job.pitch + 2 + kWords) * static_cast<int64_t>(sizeof(int16_t));
}

// One plane's row out of three: weights 1 2 1 across and along, the pixels at the border repeated.
inline void blur_row(const SlicJob& job, const uint8_t* above, const uint8_t* here, const uint8_t* below,
                     int16_t* across, uint8_t* out) {
  for (int64_t x = 0; x < job.pitch; x += kWords)
    store_w(across + 1 + x, load_bytes(above + x) + 2 * load_bytes(here + x) + load_bytes(below + x));
  across[0] = across[1];
  across[job.width + 1] = across[job.width];
  for (int64_t x = 0; x < job.pitch; x += kWords) {
    const vw sum = load_w(across + x) + 2 * load_w(across + x + 1) + load_w(across + x + 2);
    const vb bytes = __builtin_convertvector((sum + 8) >> 4, vb);
    std::memcpy(out + x, &bytes, sizeof bytes);
  }
}

void slic_planes(const SlicJob& job, int64_t y0, int64_t y1, float* scratch) {
  const int64_t width = job.width, pitch = job.pitch, height = job.height;
  uint8_t* const raw = reinterpret_cast<uint8_t*>(scratch);  // [3, 3, pitch] the last three rows
  int16_t* const across = reinterpret_cast<int16_t*>(raw + 9 * pitch);
  std::memset(scratch, 0, static_cast<size_t>(planes_scratch(job)));
  const auto raw_row = [&](int64_t y) { return raw + y % 3 * 3 * pitch; };
  const auto read = [&](int64_t y) { plane_row(job, job.image + y * width * job.channels, raw_row(y)); };
  if (y0 > 0 && job.blur) read(y0 - 1);
  read(y0);
  for (int64_t y = y0; y < y1; ++y) {
    if (y + 1 < height && (y + 1 < y1 || job.blur)) read(y + 1);
    uint8_t* const out = job.planes + y * 3 * pitch;
    if (job.blur) {
      const uint8_t *const above = raw_row(y > 0 ? y - 1 : 0), *const below = raw_row(y + 1 < height ? y + 1 : y);
      for (int64_t c = 0; c < 3 * pitch; c += pitch)
        blur_row(job, above + c, raw_row(y) + c, below + c, across, out + c);
    } else {
      std::memcpy(out, raw_row(y), static_cast<size_t>(3 * pitch));
    }
    const int64_t past = y - job.row_step / 2;
    if (past < 0 || past % job.row_step != 0) continue;
    uint64_t* const prefix = job.prefix + past / job.row_step * (width + 1);
    uint64_t sum = 0;
    for (int64_t x = 0; x < width; ++x) {
      prefix[x] = sum;
      sum += out[x] | uint64_t{out[pitch + x]} << kSlicFieldBits | uint64_t{out[2 * pitch + x]} << 2 * kSlicFieldBits;
    }
    prefix[width] = sum;
  }
}

// Adds pixels [x0, x1) of sampled row y, at most 4096.
inline void add_run(const uint64_t* prefix, int64_t y, int64_t x0, int64_t x1, SlicSums* sums) {
  const uint64_t sum = prefix[x1] - prefix[x0];
  constexpr uint64_t kField = (uint64_t{1} << kSlicFieldBits) - 1;
  const int64_t n = x1 - x0;
  sums->count += n;
  sums->color[0] += sum & kField;
  sums->color[1] += sum >> kSlicFieldBits & kField;
  sums->color[2] += sum >> 2 * kSlicFieldBits;
  sums->x += (x0 + x1 - 1) * n / 2;
  sums->y += y * n;
}

inline const uint64_t* prefix_of(const SlicJob& job, int64_t y) {
  return job.prefix + (y - job.row_step / 2) / job.row_step * (job.width + 1);
}
// The first sampled row from y on.
inline int64_t sampled_from(const SlicJob& job, int64_t y) {
  const int64_t first = job.row_step / 2, past = y - first;
  return past <= 0 ? first : first + (past + job.row_step - 1) / job.row_step * job.row_step;
}

// The sums of the cells of one band, which its centres begin with.
void slic_seed(const SlicJob& job, int64_t band) {
  const int64_t first = job.band_clusters[band], n = job.band_clusters[band + 1] - first;
  for (int64_t y = sampled_from(job, job.band_rows[band]); y < job.band_rows[band + 1]; y += job.row_step) {
    const uint64_t* const prefix = prefix_of(job, y);
    const uint8_t* const mask = job.mask ? job.mask + y * job.width : nullptr;
    for (int64_t i = 0; i < n; ++i) {
      SlicSums* const sums = job.sums + job.n_clusters + first + i;
      const int64_t end = slic_cell_begin(i + 1, n, job.width);
      int64_t x = slic_cell_begin(i, n, job.width);
      while (x < end) {
        int64_t stop = x + 4096 < end ? x + 4096 : end;
        if (mask) {
          const bool inside = mask[x] != 0;
          int64_t same = x + 1;
          while (same < stop && (mask[same] != 0) == inside) ++same;
          stop = same;
          if (!inside) {
            x = stop;
            continue;
          }
        }
        add_run(prefix, y, x, stop, sums);
        x = stop;
      }
    }
  }
}
