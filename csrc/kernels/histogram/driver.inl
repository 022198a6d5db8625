// Rows of an image to its counters: blocks of pixels, their planes, and the way of counting that suits the bins.

constexpr int64_t kSlicedLeast = 4096;    // pixels from which bit planes are worth their setting up
constexpr int64_t kJointLeast = 1 << 16;  // and three channels as one joint bin

enum class HistogramWay : int { bytes, joint, sliced };

struct HistogramScratch {
  uint8_t* pixels;     // [kHistogramBlock, 3] packed, where the image is not
  uint8_t* planes;     // [3, kHistogramPitch]
  uint32_t* sums;      // [kHistogramBlock] of lab
  uint16_t* index;     // [kHistogramBlock] of `joint`, in the same place
  uint32_t* counts;    // of `bytes` and `joint`
  SlicedBin* sliced;   // [3, bins]
  SlicedScratch* bits;
};

inline int64_t joint_copies(const HistogramJob& job) { return job.bins <= 8 ? 8 : job.bins <= 16 ? 4 : 2; }

inline HistogramWay way_of(const HistogramJob& job, int64_t pixels) {
  if (job.joint) return HistogramWay::joint;
  if (job.bins <= kSlicedBins && pixels >= kSlicedLeast) return HistogramWay::sliced;
  if (job.bins <= kMostJointBins && pixels >= kJointLeast) return HistogramWay::joint;
  return HistogramWay::bytes;
}

inline int64_t bits_of(int64_t bins) {
  int64_t n = kLowBits;
  while ((int64_t{1} << n) < bins) ++n;
  return n;
}

// Lays the parts out behind `base`; returns the bytes they take.
inline int64_t lay_out(const HistogramJob& job, uint8_t* base, HistogramScratch* parts) {
  int64_t used = 0;
  const auto take = [&](int64_t bytes) {
    uint8_t* const at = base + used;
    used += (bytes + 63) / 64 * 64;
    return at;
  };
  parts->pixels = take(3 * kHistogramBlock + 64);
  parts->planes = take(3 * kHistogramPitch);
  parts->sums = reinterpret_cast<uint32_t*>(take(kHistogramBlock * 4 + 64));
  parts->index = reinterpret_cast<uint16_t*>(parts->sums);
  const int64_t cube = job.bins <= kMostJointBins ? job.bins * job.bins * job.bins * joint_copies(job) : 0;
  const int64_t bytes = kByteCopies * 3 * 256;
  parts->counts = reinterpret_cast<uint32_t*>(take((cube > bytes ? cube : bytes) * 4));
  parts->sliced = reinterpret_cast<SlicedBin*>(take(3 * job.bins * static_cast<int64_t>(sizeof(SlicedBin))));
  parts->bits = reinterpret_cast<SlicedScratch*>(take(static_cast<int64_t>(sizeof(SlicedScratch))));
  return used;
}

int64_t histogram_scratch(const HistogramJob& job) {
  HistogramScratch parts;
  return lay_out(job, nullptr, &parts) / static_cast<int64_t>(sizeof(float));
}

// The bins of a plane in the top bits of its bytes, in place; then the counters of whole groups. `n` pixels and no
// more count: what pads the last group is bin 0, and taken off again.
inline void add_sliced(const HistogramJob& job, int64_t n, const HistogramScratch& s, uint64_t* padded) {
  const int64_t n_bits = bits_of(job.bins), shift = 8 - n_bits, group = kPixelGroup * kWordPixels;
  const int64_t whole = (n + group - 1) / group * group;
  *padded += static_cast<uint64_t>(whole - n);
  for (int64_t c = 0; c < 3; ++c) {
    uint8_t* const plane = s.planes + c * kHistogramPitch;
    if (whole > n) std::memset(plane + n, 0, static_cast<size_t>(whole - n));
    if (job.bins << shift != 256) {  // otherwise the value's own top bits are the bin
      const uint16_t bins = static_cast<uint16_t>(job.bins);
      for (int64_t i = 0; i < whole; ++i)
        plane[i] = static_cast<uint8_t>(static_cast<uint16_t>(static_cast<uint16_t>(plane[i] * bins) >> 8) << shift);
    }
    for (int64_t i = 0; i < whole; i += group) count_group(plane + i, job.bins, n_bits, s.sliced + c * job.bins, s.bits);
  }
}

inline void add_block(const HistogramJob& job, HistogramWay way, const uint8_t* pixels, int64_t n,
                      const HistogramScratch& s, uint64_t* padded) {
  planes_of(job, pixels, n, s.planes, s.sums);
  if (way == HistogramWay::bytes) return count_bytes(s.planes, n, s.counts);
  if (way == HistogramWay::sliced) return add_sliced(job, n, s, padded);
  joint_bins(s.planes, n, job.bins, s.index);
  const int64_t dim = job.bins * job.bins * job.bins;
  if (joint_copies(job) == 8) return count_joint<8>(s.index, n, dim, s.counts);
  if (joint_copies(job) == 4) return count_joint<4>(s.index, n, dim, s.counts);
  return count_joint<2>(s.index, n, dim, s.counts);
}

inline void add_marginals(const HistogramJob& job, const uint32_t* cube, uint64_t* counts) {
  const int64_t n = job.bins;
  for (int64_t x = 0; x < n; ++x)
    for (int64_t y = 0; y < n; ++y) {
      const uint32_t* const row = cube + (x * n + y) * n;
      uint64_t sum = 0;
      for (int64_t z = 0; z < n; ++z) {
        counts[2 * n + z] += row[z];
        sum += row[z];
      }
      counts[x] += sum;
      counts[n + y] += sum;
    }
}

inline void fold(const HistogramJob& job, HistogramWay way, const HistogramScratch& s, uint64_t padded,
                 uint64_t* counts) {
  if (way == HistogramWay::sliced) {
    for (int64_t i = 0; i < 3 * job.bins; ++i)
      counts[i] += sliced_total(s.sliced[i]) - (i % job.bins == 0 ? padded : 0);
    return;
  }
  if (way == HistogramWay::bytes) {
    for (int64_t i = 0; i < kByteCopies * 3 * 256; ++i)
      counts[i / 256 % 3 * job.bins + (i % 256 * job.bins >> 8)] += s.counts[i];
    return;
  }
  const int64_t dim = job.bins * job.bins * job.bins;
  for (int64_t copy = 1; copy < joint_copies(job); ++copy)
    for (int64_t i = 0; i < dim; ++i) s.counts[i] += s.counts[copy * dim + i];
  if (!job.joint) return add_marginals(job, s.counts, counts);
  for (int64_t i = 0; i < dim; ++i) counts[i] += s.counts[i];
}

// Packs pixels [x0, x1) of row y behind `out`; those of the mask alone. Their number.
inline int64_t pack_pixels(const HistogramJob& job, int64_t y, int64_t x0, int64_t x1, uint8_t* out) {
  const uint8_t* in = job.image + y * job.stride_h + x0 * job.stride_w;
  if (!job.mask && job.stride_w == 3 && job.stride_c == 1) {
    std::memcpy(out, in, static_cast<size_t>(3 * (x1 - x0)));
    return x1 - x0;
  }
  const uint8_t* const mask = job.mask ? job.mask + y * job.width : nullptr;
  int64_t n = 0;
  for (int64_t x = x0; x < x1; ++x, in += job.stride_w) {
    out[3 * n] = in[0];
    out[3 * n + 1] = in[job.stride_c];
    out[3 * n + 2] = in[2 * job.stride_c];
    n += !mask || mask[x] != 0;
  }
  return n;
}

void histogram_rows(const HistogramJob& job, int64_t y0, int64_t y1, uint64_t* counts, float* scratch) {
  HistogramScratch s;
  lay_out(job, reinterpret_cast<uint8_t*>(scratch), &s);
  const int64_t pixels = (y1 - y0) * job.width;
  const HistogramWay way = way_of(job, pixels);
  uint64_t padded = 0;
  if (way == HistogramWay::sliced) {
    std::memset(static_cast<void*>(s.sliced), 0, static_cast<size_t>(3 * job.bins) * sizeof(SlicedBin));
  } else {
    const int64_t cube = job.bins * job.bins * job.bins * joint_copies(job);
    const int64_t n = way == HistogramWay::joint ? cube : kByteCopies * 3 * 256;
    std::memset(s.counts, 0, static_cast<size_t>(n) * sizeof(uint32_t));
  }
  const bool in_place = !job.mask && job.stride_w == 3 && job.stride_c == 1 && job.stride_h == 3 * job.width;
  if (in_place) {
    const uint8_t* const first = job.image + y0 * job.stride_h;
    for (int64_t p = 0; p < pixels; p += kHistogramBlock) {
      const int64_t n = pixels - p < kHistogramBlock ? pixels - p : kHistogramBlock;
      add_block(job, way, first + 3 * p, n, s, &padded);
    }
  } else {
    int64_t have = 0;
    for (int64_t y = y0; y < y1; ++y) {
      for (int64_t x = 0; x < job.width;) {
        const int64_t room = kHistogramBlock - have, end = job.width - x < room ? job.width : x + room;
        have += pack_pixels(job, y, x, end, s.pixels + 3 * have);
        x = end;
        if (have < kHistogramBlock) continue;
        add_block(job, way, s.pixels, have, s, &padded);
        have = 0;
      }
    }
    if (have > 0) add_block(job, way, s.pixels, have, s, &padded);
  }
  fold(job, way, s, padded, counts);
}
