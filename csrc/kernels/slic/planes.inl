// An image as three planes of bytes (CIELAB by tables and integers, or the channels as they are), and running sums
// along the sampled rows, from which the sums of a run of pixels are one subtraction.

constexpr int kSlicFieldBits = 20;  // of one channel in a running sum; a run of 4112 pixels does not overflow it

inline void lab_of(const SlicJob& job, const uint8_t* rgb, int64_t green, int64_t blue, uint8_t* lab) {
  const uint64_t sum = job.to_xyz[rgb[0]] + job.to_xyz[256 + rgb[green]] + job.to_xyz[512 + rgb[blue]];
  const SlicRoot& x = job.roots[sum >> 8 & 8191];
  const SlicRoot& y = job.roots[sum >> 29 & 8191];
  const SlicRoot& z = job.roots[sum >> 50];
  lab[0] = static_cast<uint8_t>(y.lightness);
  lab[1] = static_cast<uint8_t>((x.of_a - y.of_a + (128 << 6) + 32) >> 6);
  lab[2] = static_cast<uint8_t>((y.of_b - z.of_b + (128 << 7) + 64) >> 7);
}

void slic_planes(const SlicJob& job, int64_t y0, int64_t y1) {
  const int64_t green = job.channels == 3 ? 1 : 0, blue = job.channels == 3 ? 2 : 0;
  for (int64_t y = y0; y < y1; ++y) {
    const uint8_t* in = job.image + y * job.width * job.channels;
    uint8_t* const out = job.planes + y * 3 * job.pitch;
    for (int64_t x = 0; x < job.width; ++x, in += job.channels) {
      uint8_t color[3] = {in[0], in[green], in[blue]};
      if (job.to_xyz) lab_of(job, in, green, blue, color);
      out[x] = color[0];
      out[job.pitch + x] = color[1];
      out[2 * job.pitch + x] = color[2];
    }
    for (int64_t x = job.width; x < job.pitch; ++x) out[x] = out[job.pitch + x] = out[2 * job.pitch + x] = 0;
    const int64_t past = y - job.row_step / 2;
    if (past < 0 || past % job.row_step != 0) continue;
    uint64_t* const prefix = job.prefix + past / job.row_step * (job.width + 1);
    uint64_t sum = 0;
    for (int64_t x = 0; x < job.width; ++x) {
      prefix[x] = sum;
      sum += out[x] | uint64_t{out[job.pitch + x]} << kSlicFieldBits |
             uint64_t{out[2 * job.pitch + x]} << 2 * kSlicFieldBits;
    }
    prefix[job.width] = sum;
  }
}

// Adds pixels [x0, x1) of sampled row y, at most 4096.
inline void add_run(const SlicJob& job, const uint64_t* prefix, int64_t y, int64_t x0, int64_t x1, SlicSums* sums) {
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
        add_run(job, prefix, y, x, stop, sums);
        x = stop;
      }
    }
  }
}
